import sys,torch,json
from pathlib import Path
from workflow.worlds.mini import pretrain_clip as pc
import open_clip
n=sys.argv[1]
st=torch.load(f"results/world_build/state/clip_{n}_32/state.pt",map_location="cpu",weights_only=True)
print(st["step"])
cfg=pc.model_config(pc.RECIPES[n],32)
m=open_clip.model.CLIP(embed_dim=cfg["embed_dim"],vision_cfg=cfg["vision_cfg"],text_cfg=cfg["text_cfg"]); m.load_state_dict(st["state"]["model"])
pc.save_clip(Path(f"lab27/early/clip_{n}.safetensors"),m,cfg); Path(f"lab27/early/clip_{n}.json").write_text(json.dumps(cfg))
