"""look.py TASK POLICIES STEPS LR TAG: e.g. dog2cat all,adaptive+m 40/80/160 .003 t1"""
import os, sys, json, time, torch, random, numpy as np, types
from pathlib import Path
from PIL import Image
from nada.clip.encoder import load_clip
from nada.clip.prompts import read_templates
from nada import training as T
from nada.run.hyperparameters import read_hyperparameters
from nada.stylegan2.source_model import load_source
from workflow.worlds.mini.parent import FAMILIES
from workflow.worlds.mini.pretrain_source import uniforms
from workflow.worlds.mini.scenes import render_uint8
from workflow.worlds.mini.species import SPECIES, STYLES
torch.set_num_threads(1)
FOLD = Path(os.environ.get("FOLD", "results/world_build"))
CLIPS = os.environ.get("CLIPS", "a,b").split(",")
CF = Path(os.environ.get("CFOLD", FOLD))
TEMPL = "workflow/worlds/mini/templates.txt"
class Steering:
    def __init__(s, job): s.job=job; s.label="x"; s.name="x"; s.shots=0
    def clips(s, resize="antialias", names=None):
        return [load_clip({"name":c,"config":str(CF/f"clip_{c}.json"),"weights":str(CF/f"clip_{c}.safetensors"),"weight":1.0}, torch.device("cpu"), resize) for c in CLIPS]
    def texts(s): return s.job.text
    def templates(s): return read_templates(TEMPL)
T.Steering = Steering
T.source_networks = lambda job: load_source(job.weights)
class Job:
    def __init__(s, weights, text, seed, label=""):
        s.weights, s.text, s.seed = weights, text, seed
        s.device=torch.device("cpu"); s.label=s.name="look"; s.log=lambda *a: None; s.snaps={}; s.par=None; s.last={}
        s.has_parent=False; s.inputs={}; s.cost=types.SimpleNamespace(count_clip_calls=lambda c:None)
    def seed_everything(s): torch.manual_seed(s.seed); np.random.seed(s.seed); random.seed(s.seed)
    def steps(s, n, snaps, state, as_snapshot, every):
        for i in range(1,n+1):
            yield i
            if i in s.wanted: s.snaps[i]={k:v.detach().clone() for k,v in as_snapshot().items()}
    def report(s, images, **v): s.last={k:(float(x) if not isinstance(x,str) else x) for k,x in v.items()}
    def add_cost(s, **k): pass
    def add_input(s,*a): pass
    def parent(s): return s.par
TASKS={"dog2cat":("dog","dog","cat"),"dog2bear":("dog","dog","bear"),"dog2fox":("dog","dog","fox"),"face2sketch":("face","photo","sketch"),"face2cartoon":("face","photo","cartoon")}
BASE=dict(loss="directional",augment="shared",noise="shared",guard="epsilon",epsilon=.05,global_prompt="templates",batch=4)
def hp(policy, steps, lr):
    h=dict(BASE, iterations=steps, lr=lr)
    if policy=="global": return dict(h, loss="global")
    if policy=="all": return dict(h, layers=dict(policy="all"))
    k=3 if policy=="adaptive" else int(policy[1:])
    return dict(h, layers=dict(policy="adaptive",k=k,n_w=4,n_i=1,selection_codes="shared"))
def adapt(src, text, policy, steps, lr, seed, fold=FOLD, mapper=True):
    job=Job(fold/f"{src}.safetensors", text, seed); job.wanted=set(steps)
    h=read_hyperparameters(T.NadaHyperparameters, hp(policy,max(steps),lr), "x")
    model=T.adapt_generator(job,h)
    return job, model
def with_mapper(job, model, seed, lam=.5, lr=8.0, iters=200):
    j=Job(job.weights, job.text, seed+1000); j.wanted=set(); j.par=model
    h=read_hyperparameters(T.NadaHyperparameters, dict(BASE, mapper=dict(iterations=iters,optimiser="radam",lr=lr,lambda_l2=lam,lambda_norm=.2,norm_loss="official")), "x")
    j.has_parent=True
    m=T.adapt_mapper(j,h); return m
@torch.no_grad()
def pics(model, z): return ((model.sample(z)+1)*127.5+.5).clamp(0,255).to(torch.uint8)
def main():
    task, policies, steps, lr, tag = sys.argv[1:6]; seed=int(os.environ.get("SEED",0))
    lr=float(lr); steps=[int(x) for x in steps.split("/")]
    src,a,b=TASKS[task]; SRC=os.environ.get("SRC",src)
    z=torch.randn(14,64,generator=torch.Generator().manual_seed(77))
    fam=FAMILIES[src]; own=fam.pure(fam.own,14); sp,st=fam.scene(own); u=uniforms(z)
    sp2,st2=sp,st
    if src=="dog": sp2=torch.full((14,),SPECIES.index(b))
    else: st2=torch.full((14,),STYLES.index(b))
    rows=[]
    source=load_source(FOLD/f"{SRC}.safetensors").G_ema.eval()
    from nada.run.artifact import AdaptedModel
    rows.append(pics(AdaptedModel(source),z))
    rows.append(render_uint8(sp2,st2,u,32))
    for p in policies.split(","):
        m=p.endswith("+m"); p=p.removesuffix("+m"); t=time.time()
        job,model=adapt(SRC,(a,b),p,steps,lr,seed)
        for s in steps:
            g=__import__("copy").deepcopy(model.generator); sd={k.removeprefix("generator."):v for k,v in job.snaps[s].items()}
            g.load_state_dict(sd,strict=False); rows.append(pics(AdaptedModel(g.eval()),z))
        print(task,p,steps,{k:round(v,3) for k,v in job.last.items() if not isinstance(v,str)},f"{time.time()-t:.0f} s",flush=True)
        if m:
            mm=with_mapper(job,model,seed,float(os.environ.get("LAM",.5)),float(os.environ.get("MLR",8)))
            rows.append(pics(mm.eval(),z))
    n=len(rows); im=torch.stack(rows).permute(0,3,1,4,2).reshape(n*32,14*32,3)
    im=Image.fromarray(im.numpy()).resize((14*96,n*96),0); im.save(f"lab27/out/{tag}_{task}.png"); print(n,"rows")
if __name__=="__main__": main()
