import time
from pathlib import Path
from workflow.worlds.mini import pretrain_source as ps
r=ps.Recipe(pool=2000,mapping_steps=50,coarse_steps=60,fine_steps=60,shrink_steps=40,warmup_steps=20,adversarial_steps=40,own_steps=20)
t=time.time(); ps.train("dog",Path("lab27/out"),r); print(time.time()-t)
