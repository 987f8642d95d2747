import torch
from PIL import Image
from workflow.worlds.mini.junk import *
from workflow.worlds.mini.scenes import *
g=torch.Generator().manual_seed(1)
a=half_way(96,g,32)
s,t,u=sample_scenes(36,g)
b=((junk(from_uint8(render_uint8(s,t,u,32)),g)+1)*127.5).to(torch.uint8)
x=torch.cat([a,b]); n=len(x)//12
im=x.view(n,12,3,32,32).permute(0,3,1,4,2).reshape(n*32,384,3)
Image.fromarray(im.numpy()).resize((12*80,n*80),0).save("lab27/junk.png")
