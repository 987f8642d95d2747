import sys,torch,json
from pathlib import Path
from nada.stylegan2.generator import Generator
from nada.stylegan2.discriminator import Discriminator
from nada.stylegan2.source_model import SourceModel, save_source
dom=sys.argv[1]
st=torch.load(f"results/world_build/state/source_{dom}_32_11/state.pt",map_location="cpu",weights_only=True)
s=st["state"]; print(st["step"],s["stage"])
G=Generator(32,64,64,1280,96,4,1.0)
sd=s["trainer"]["G_ema"] if s["stage"]=="adversarial" else {k[2:]:v for k,v in s["average"].items() if k.startswith("G.")}
G.load_state_dict(sd)
with torch.no_grad(): G.mapping.w_avg.copy_(G.mapping(torch.randn(10000,64)).mean(0))
save_source(Path(f"lab27/early/{dom}.safetensors"), SourceModel(G=G,G_ema=G,D=Discriminator(32,1280,96,mbstd_group_size=4),metadata={}), dtype=torch.float16)
