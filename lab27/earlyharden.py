import torch,json
from pathlib import Path
from workflow.worlds.mini import pretrain_clip as pc
import open_clip
st=torch.load("results/world_build/state/harden_32/state.pt",map_location="cpu",weights_only=True); print(st["step"])
for n,sd in zip("ab",st["state"]["models"]):
    cfg=pc.model_config(pc.RECIPES[n],32)
    m=open_clip.model.CLIP(embed_dim=cfg["embed_dim"],vision_cfg=cfg["vision_cfg"],text_cfg=cfg["text_cfg"]); m.load_state_dict(sd)
    pc.save_clip(Path(f"lab27/early/h/clip_{n}.safetensors"),m,cfg); Path(f"lab27/early/h/clip_{n}.json").write_text(json.dumps(cfg))
