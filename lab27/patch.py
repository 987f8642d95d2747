import torch
p="results/world_build/state/source_dog_32_11/state.pt"
c=torch.load(p,map_location="cpu",weights_only=True); s=c["state"]; print(c["step"],s["stage"],list(s))
for k,g in (("parent","G"),("average","G_ema")):
    s[k]={**{"G."+n:v for n,v in s["trainer"][g].items()},"shifts":torch.zeros(9,64)}
torch.save(c,p)
