import time,torch,sys
from workflow.worlds.mini.pairs import *
g=torch.Generator().manual_seed(0)
t=time.process_time(); 
for _ in range(3): p=draw_pairs(16,g,32)
print("draw",(time.process_time()-t)/3)
t=time.process_time(); v=shared_views(p.images,.25,g); print("views",time.process_time()-t)
from PIL import Image
v=v.view(16,6,3,32,32)
im=torch.cat([p.images,v],1).permute(0,3,1,4,2).reshape(16*32,12*32,3)
Image.fromarray(((im+1)*127.5).clamp(0,255).to(torch.uint8).numpy()).resize((12*96,16*96),0).save("lab27/pairs.png")
