"""Features of clean-fid's Inception from local files (Parmar et al. 2022; Heusel et al. 2017).

Modes: `clean` (bicubic with antialiasing, NVIDIA's TorchScript network) and `legacy_pytorch` (bilinear
without antialiasing, the weights of pytorch-fid in clean-fid's own module). Nothing is downloaded, whereas
clean-fid downloads both networks into shared folders without a check. A TorchScript file is code that torch
runs, so it is opened only if its SHA-256 is the published or a declared one.
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
#: Side of the network's input in pixels.
SIZE = 299
#: Images per message to a worker process; at most 2 messages per worker wait.
CHUNK = 8
#: clean-fid's constructor gets its weights through a global of its module: one thread at a time.
_BUILDING = threading.Lock()


class Resizer:
    """clean-fid's resizing, in this process (workers=0) or in worker processes; the same values.

    Use it in a `with`, or close it: the worker processes start at first use and end with it.
    """

    def __init__(self, workers: int = 0):
        if workers < 0:
            raise ValueError(f"workers: 0 or more expected, got {workers}")
        self.workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self) -> None:
        """End the worker processes. Images that wait are dropped."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def resized(self, batches: Iterable[np.ndarray], mode: str) -> Iterator[np.ndarray]:
        """uint8 batches [n,H,W,3] -> float32 [n,299,299,3] in [0,255], in order.

        Reads a few batches ahead, so memory does not grow with the stream.
        """
        if self.workers == 0:
            yield from (resize_images(batch, mode) for batch in batches)
            return
        if self._pool is None:
            # a plain fork would inherit torch's threads and the CUDA context; the fork server imports
            # torch once, so that sixteen workers start as fast as one
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

    torch.set_num_threads(1)  # there is one process per core


@cache
def _resizer(mode: str):
    """clean-fid's function for one image, [H,W,3] -> float32 [299,299,3]."""
    from cleanfid.resize import build_resizer  # imports torch: not before it is needed

    with warnings.catch_warnings():  # build_resizer silences warnings globally
        return build_resizer(mode)


def resize_images(images: np.ndarray, mode: str) -> np.ndarray:
    """uint8 [N,H,W,3] -> float32 [N,299,299,3] in [0,255], as clean-fid resizes image files."""
    resize = _resizer(_known(mode))
    return np.stack([resize(image) for image in images]).astype(np.float32, copy=False)


def _known(mode: str) -> str:
    if mode not in MODES:
        raise UserError(f"inception mode is '{mode}'; it must be one of {', '.join(MODES)}.")
    return mode


class Inception:
    """A frozen network under clean-fid's contract: [n,3,299,299] in [0,255] -> [n,2048].

    `cleanfid.fid.get_folder_features` takes it as `model`, and so does `inception_features`.
    """

    def __init__(self, network, mode: str, device, file: str, sha256: str):
        self.network = network  # normalised images -> features
        self.mode, self.device = mode, device
        self.file, self.sha256 = file, sha256

    def __call__(self, x):
        import torch

        if x.ndim != 4 or tuple(x.shape[1:]) != (3, SIZE, SIZE):
            raise ValueError(f"images: shape [n,3,{SIZE},{SIZE}] expected, got {list(x.shape)}")
        # no autocast even if the caller uses it; no TorchScript optimiser, which rewrites a network
        # after its first calls, so that equal images would round differently
        with (
            torch.inference_mode(),
            torch.autocast(x.device.type, enabled=False),
            torch.jit.optimized_execution(False),
        ):
            return self.network(x).flatten(1)

    def record(self) -> dict:
        """Name and hash of the file, and the mode, for the record of an observation."""
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
    sha256, made_here: accept other hashes too, see `eval.networks.published`.
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

    content = path.read_bytes()  # the bytes that are hashed are the bytes that run
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
    """clean-fid's pytorch-fid module with these weights instead of its download."""
    import torch
    from cleanfid.inception_pytorch import InceptionV3

    # the random initialisation must not advance the caller's random stream
    with (
        _downloads_replaced(tensors),
        torch.random.fork_rng(devices=[]),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # torchvision: the `pretrained` spelling clean-fid uses
        return InceptionV3(output_blocks=[3], resize_input=False)


@contextmanager
def _downloads_replaced(tensors: dict):
    """clean-fid's module downloads its weights while it is built: give it these instead."""
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
    """Features [N,2048] float32 of images, as clean-fid computes them from a folder of PNGs.

    images: uint8 [N,H,W,3], an array or a sequence whose slices are such arrays (an image set that
    reads lazily). The workers resize the next batch while the network runs. what: what errors call the
    images. UserError: no image.
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
