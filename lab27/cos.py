import sys,torch
from pathlib import Path
from nada.clip.encoder import load_clip, text_direction
from nada.clip.prompts import read_templates
from workflow.worlds.mini.scenes import *
from workflow.worlds.mini.species import *
import os
F=Path(os.environ.get("CFOLD","results/world_build"))
g=torch.Generator().manual_seed(4); n=150; u=torch.rand(n,NUM_UNIFORMS,generator=g)
P=lambda s,st="photo": from_uint8(render_uint8(torch.full((n,),SPECIES.index(s)),torch.full((n,),STYLES.index(st)),u,32))
T=read_templates("workflow/worlds/mini/templates.txt")
for spec in sys.argv[1:]:
    c,suffix=(spec.split(".")+[""])[:2]
    w=F/(f"clip_{c}.plain.safetensors" if suffix=="plain" else f"clip_{c}.safetensors")
    clip=load_clip({"name":c,"config":str(F/f"clip_{c}.json"),"weights":str(w),"weight":1.0},torch.device("cpu"))
    for a,b,x,y in (("dog","cat",P("dog"),P("cat")),("dog","bear",P("dog"),P("bear")),("dog","fox",P("dog"),P("fox")),("photo","sketch",P("person"),P("person","sketch")),("photo","cartoon",P("person"),P("person","cartoon")),("photo","watercolour",P("person"),P("person","watercolour"))):
        ta=clip.encode_texts([t.format(a) for t in T]).mean(0); tb=clip.encode_texts([t.format(b) for t in T]).mean(0)
        d=torch.nn.functional.normalize(tb-ta,dim=0)
        with torch.no_grad():
            ex,ey=clip.encode_images(x),clip.encode_images(y); half=clip.encode_images((x+y)/2)
            co=lambda e:(torch.nn.functional.normalize(e-ex,dim=1)@d).mean().item()
            print(c,a,b,"true %.2f half %.2f move %.2f"%(co(ey),co(half),(ey-ex).norm(dim=1).mean()))
