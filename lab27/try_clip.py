import time,sys
from pathlib import Path
from workflow.worlds.mini import pretrain_clip as pc
pc.POOL=1500; pc.PAIR_BLOCKS=8
for n in sys.argv[1:]:
    pc.RECIPES[n]["steps"]=60
    t=time.time(); pc.train(n,Path("lab27/out"),32); print(n,time.time()-t)
