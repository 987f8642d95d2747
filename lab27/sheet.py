import torch,sys
from PIL import Image
from workflow.worlds.mini.species import *
from workflow.worlds.mini.scenes import render_uint8
g=torch.Generator().manual_seed(3)
n=14
u=torch.rand(n,NUM_UNIFORMS,generator=g)
rows=[]
for s in range(len(SPECIES)):
    rows.append(render_uint8(torch.full((n,),s),torch.zeros(n,dtype=torch.long),u,32))
for st in range(1,len(STYLES)):
    rows.append(render_uint8(torch.full((n,),SPECIES.index("person")),torch.full((n,),st),u,32))
for st in range(1,len(STYLES)):
    rows.append(render_uint8(torch.full((n,),SPECIES.index("cat")),torch.full((n,),st),u,32))
grid=torch.stack(rows).permute(0,3,1,4,2).reshape(len(rows)*32,n*32,3)
Image.fromarray(grid.numpy()).resize((n*32*3,len(rows)*32*3),Image.NEAREST).save("lab27/renders.png")
