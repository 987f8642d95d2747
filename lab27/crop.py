import numpy as np
from PIL import Image
from pathlib import Path
from nada.images.arrays import save_images
for n in "qrst":
    im=np.array(Image.open(f"../shared/reference/world/third/blind_{n}.png").convert("RGB")); print(n,im.shape)
    pics=[]
    for j in range(4):
        for i in range(6):
            x,y=(10 if n=="t" else 11)+150*i,20+170*j
            pics.append(im[y+2:y+128:4, x+2:x+128:4])
    pics=np.stack(pics); print(pics.shape)
    f=Path(f"docs/blind-naming/prototype-{n}"); f.mkdir(parents=True,exist_ok=True)
    save_images(f/"pictures.npz",pics)
    Image.open(f"../shared/reference/world/third/blind_{n}.png").save(f/"sheet.png",optimize=True)
