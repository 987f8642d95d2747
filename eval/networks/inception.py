"""Features of clean-fid's Inception from local files (Parmar et al. 2022; Heusel et al. 2017).

Modes: `clean` (bicubic with antialiasing, NVIDIA's TorchScript network) and `legacy_pytorch`
(bilinear without, the weights of pytorch-fid in clean-fid's own module). clean-fid would fetch both
networks into shared folders without a check; here nothing is fetched. A TorchScript file is code
that torch runs, so it is opened only under its published SHA-256 or one that the user declares.
"""

import hashlib
import io
import multiprocessing
import threading
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np

from eval.networks.published import check_published
from nada.run.errors import UserError
from nada.run.finite import check_finite

#: SHA-256 of the published network of each mode.
PUBLISHED = {
    "clean": "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
    "legacy_pytorch": "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
}
MODES = tuple(PUBLISHED)
#: Side of the images that the network reads, in pixels.
SIZE = 299
#: Images that one message to a worker process holds; batches that wait are at most 2 per worker.
CHUNK = 8
#: clean-fid's constructor is handed its weights through a global of its module: one at a time.
_BUILDING = threading.Lock()


class Resizer:
    """clean-fid's own resizing, in this process or in `workers` others; the same numbers.

    Close it, or use it in a `with`: the processes live as long as it does, and start at first use.
    """

    def __init__(self, workers: int = 0):
        if workers < 0:
            raise ValueError(f"workers: 0 or more wanted, got {workers}")
        self.workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        """End the processes; images that wait are dropped."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def resized(self, batches: Iterable[np.ndarray], mode: str) -> Iterator[np.ndarray]:
        """uint8 batches [n,H,W,3] -> float32 [n,299,299,3] in [0,255], in order.

        Memory: a few batches beyond the one asked for, however long the stream.
        """
        if self.workers == 0:
            yield from (resize_images(batch, mode) for batch in batches)
            return
        if self._pool is None:
            # not forked from here: a fork would inherit torch's threads and the CUDA context; from
            # a server that has imported torch once, so that sixteen workers start as fast as one
            context = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(["cleanfid.resize", __name__])
            self._pool = ProcessPoolExecutor(self.workers, context, initializer=_one_thread)
        waiting, messages = deque(), 0
        for batch in batches:
            parts = np.array_split(batch, -(-len(batch) // CHUNK))
            waiting.append([self._pool.submit(resize_images, part, mode) for part in parts])
            messages += len(parts)
            while messages > 2 * self.workers and len(waiting) > 1:
                messages -= len(waiting[0])
                yield _joined(waiting.popleft())
        while waiting:
            yield _joined(waiting.popleft())


def _joined(futures: list) -> np.ndarray:
    return np.concatenate([future.result() for future in futures])


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)  # a process per core already


@cache
def _resizer(mode: str):
    """clean-fid's function for one image, [H,W,3] -> float32 [299,299,3]."""
    from cleanfid.resize import build_resizer  # imports torch: not before it is needed

    with warnings.catch_warnings():  # building one silences warnings everywhere
        return build_resizer(mode)


def resize_images(images: np.ndarray, mode: str) -> np.ndarray:
    """uint8 [N,H,W,3] -> float32 [N,299,299,3] in [0,255], as clean-fid resizes a file of each."""
    resize = _resizer(_known(mode))
    return np.stack([resize(image) for image in images]).astype(np.float32, copy=False)


def _known(mode: str) -> str:
    if mode not in MODES:
        raise UserError(f"inception mode is '{mode}'; it must be one of {', '.join(MODES)}.")
    return mode


class Inception:
    """One frozen network under clean-fid's contract: [n,3,299,299] in [0,255] -> [n,2048].

    Pass it as `model` to `cleanfid.fid.get_folder_features`; `inception_features` calls it too.
    """

    def __init__(self, network, mode: str, device, file: str, sha256: str):
        self.network = network  # normalised images -> features
        self.mode, self.device = mode, device
        self.file, self.sha256 = file, sha256

    def __call__(self, x):
        import torch

        if x.ndim != 4 or tuple(x.shape[1:]) != (3, SIZE, SIZE):
            raise ValueError(f"images: shape [n,3,{SIZE},{SIZE}] wanted, got {list(x.shape)}")
        # no autocast, whatever the caller's; and without the optimiser of TorchScript, which
        # rewrites a network after its first calls: equal images would round differently
        with (
            torch.inference_mode(),
            torch.autocast(x.device.type, enabled=False),
            torch.jit.optimized_execution(False),
        ):
            return self.network(x).flatten(1)

    def record(self) -> dict:
        """Which file, by name and hash, and how images were resized: for an observation's record."""
        return {"file": self.file, "sha256": self.sha256, "mode": self.mode}


def load_inception(
    path,
    mode: str = "clean",
    device="cpu",
    sha256: str | None = None,
    made_here: bool = False,
) -> Inception:
    """The Inception of a mode from its published file, frozen, float32.

    path: inception-2015-12-05.pt (clean) or pt_inception-2015-12-05-6726825d.pth (legacy_pytorch).
    sha256, made_here: what to accept beside the published hash, see `eval.networks.published`.
    UserError: no file, another hash, contents that are no such network, or NaN or infinity in it.
    """
    import torch

    path, device = Path(path), torch.device(device)
    digest = check_published(
        path, f"the Inception of mode '{_known(mode)}'", PUBLISHED[mode], sha256, made_here
    )
    if mode == "clean":
        network = _script_network(path, digest, device)
    else:
        network = _pytorch_network(path, device)
    return Inception(network, mode, device, path.name, digest)


def _script_network(path: Path, digest: str, device):
    import torch

    content = path.read_bytes()  # what is hashed here is what runs, whoever writes to the file
    if hashlib.sha256(content).hexdigest() != digest:
        raise UserError(f"the Inception {path} changed while it was read; fetch it again.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated; the published file is one
        try:
            base = torch.jit.load(io.BytesIO(content), map_location=device).eval()
            layers = base.layers
        except (RuntimeError, AttributeError) as error:
            reason = (str(error).strip().splitlines() or ["no more is known"])[0]
            raise UserError(
                f"the Inception {path} is no TorchScript network with 'layers' ({reason}); fetch "
                "inception-2015-12-05.pt again."
            ) from error
    check_finite(path, base.state_dict(), "fetch inception-2015-12-05.pt again")
    return lambda x: layers((x - 128) / 128)


def _pytorch_network(path: Path, device):
    from nada.stylegan2.readers.unpickle import read_state_dict

    tensors = read_state_dict(path)
    check_finite(path, tensors, "fetch pt_inception-2015-12-05-6726825d.pth again")
    try:
        network = _built_by_cleanfid(tensors).to(device).eval().requires_grad_(False)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"the Inception {path} does not fit clean-fid's network ({reason}); fetch "
            "pt_inception-2015-12-05-6726825d.pth again."
        ) from error
    return lambda x: network(x / 255)[0]


def _built_by_cleanfid(tensors: dict):
    """clean-fid's pytorch-fid module with these weights; its own download is not called."""
    import torch
    from cleanfid.inception_pytorch import InceptionV3

    # the random initialisation must not move the caller's stream
    with (
        _downloads_replaced(tensors),
        torch.random.fork_rng(devices=[]),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # torchvision: the `pretrained` spelling clean-fid uses
        return InceptionV3(output_blocks=[3], resize_input=False)


@contextmanager
def _downloads_replaced(tensors: dict):
    """clean-fid's module fetches its weights while it is built; give it these in their place."""
    from cleanfid import inception_pytorch as module

    with _BUILDING:
        download = module.load_state_dict_from_url
        module.load_state_dict_from_url = lambda *_args, **_options: tensors
        try:
            yield
        finally:
            module.load_state_dict_from_url = download


def inception_features(
    images, inception: Inception, resizer: Resizer, batch: int = 32, what: str = "images"
) -> np.ndarray:
    """Features [N,2048] float32 of images, as of a folder of their PNGs.

    images: uint8 [N,H,W,3], an array or anything with a length whose slices are such arrays (an
    image set that reads lazily). While the network looks at a batch, the workers resize the next.
    UserError: no image.
    """
    import torch

    if len(images) == 0:
        raise UserError(f"{what}: no image to take features of")
    rows = []
    parts = (images[start : start + batch] for start in range(0, len(images), batch))
    for pixels in resizer.resized(parts, inception.mode):
        x = torch.from_numpy(pixels).to(inception.device).permute(0, 3, 1, 2).contiguous()
        rows.append(inception(x).float().cpu().numpy())
    return np.concatenate(rows)
