"""quick.py TASK POLICY STEPS MAPPER(0/1) OUT SEED : a blind sheet as blind_naming draws it"""
import sys,os,numpy as np,torch,pandas as pd
sys.path.insert(0,"lab")
import look
from pathlib import Path
from eval.study.blind_naming import draw_sheet
from nada.images.arrays import save_images
from nada.run.artifact import AdaptedModel
from nada.stylegan2.source_model import load_source
from workflow.worlds.mini.references import reference_images
task,policy,steps,mapper,out,seed=sys.argv[1:7]; steps=int(steps); seed=int(seed); lr=float(os.environ.get("LR",.005))
src,a,b=look.TASKS[task]
job,model=look.adapt(src,(a,b),policy,[steps],lr,seed,fold=look.FOLD)
if int(mapper): model=look.with_mapper(job,model,seed)
model=model.eval() if hasattr(model,"eval") else model
g=torch.Generator().manual_seed(500+seed); z=torch.randn(16,64,generator=g)
G=load_source(look.FOLD/f"{src}.safetensors").G_ema.eval()
# truncation .7 as the galleries
def sample(m,z):
    with torch.no_grad(): x=m.sample(z,0.7)
    return ((x+1)*127.5+.5).clamp(0,255).to(torch.uint8).permute(0,2,3,1).numpy()
A=sample(model,z[:8]); S=sample(AdaptedModel(G),z[8:])
sp,st=("person",b) if src=="face" else (b,"photo")
R=reference_images(b,sp,st,200,32); R=R[np.random.default_rng(seed).permutation(200)[:8]]
imgs=np.concatenate([A,R,S]); grp=["adapted"]*8+["real"]*8+["source"]*8
p=np.random.default_rng(seed+9).permutation(24)
o=Path(out); o.mkdir(parents=True,exist_ok=True)
draw_sheet(imgs[p],o/"sheet.png"); save_images(o/"pictures.npz",imgs[p])
pd.DataFrame({"number":range(1,25),"group":[grp[i] for i in p]}).to_csv(o/"key.csv",index=False); print("ok",out)
