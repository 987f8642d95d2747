"""Draw the real images of a domain of the mini world, which the metrics compare with.

python -m workflow.worlds.mini.references --domain cat --count 1000 --out cat.npz

A domain that another world adds is drawn with --species and --style.
"""

from __future__ import annotations

import argparse
import zlib
from pathlib import Path

from nada.run.errors import UserError, command

WORLD = Path(__file__).parent / "world.yaml"
LARGEST = 20_000  # always draws this many scenes, so that a smaller set is a prefix of a larger one


def reference_images(domain: str, species: str, style: str, count: int, resolution: int):
    """The first `count` real images of a domain: uint8 [count, H, W, 3], the same on every machine.

    The stream of scenes depends only on the domain's name; pre-training uses other seeds.
    """
    import torch

    from workflow.worlds.mini.scenes import render_uint8, sample_scenes

    generator = torch.Generator().manual_seed(zlib.crc32(f"reference {domain}".encode()))
    kinds, styles, u = sample_scenes(LARGEST, generator, species, style)
    images = render_uint8(kinds[:count], styles[:count], u[:count], resolution)
    return images.permute(0, 2, 3, 1).contiguous().numpy()


@command
def main(argv=None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--domain", required=True, help="name of the domain, which seeds the scenes")
    parser.add_argument("--count", type=int, required=True, help=f"number of images, 1..{LARGEST}")
    parser.add_argument("--species", help="species to draw (default: that of the domain in world.yaml)")
    parser.add_argument("--style", help="style to draw in (default: that of the domain)")
    parser.add_argument("--resolution", type=int, help="pixels per side (default: the world's)")
    parser.add_argument("--out", type=Path, required=True, help=".npz file to write")
    arguments = parser.parse_args(argv)
    import yaml

    world = yaml.safe_load(WORLD.read_text())
    domains, draws = (world["references"][key] for key in ("domains", "draws"))
    given = {"species": arguments.species, "style": arguments.style}
    drawn = domains.get(arguments.domain, {}) | {k: v for k, v in given.items() if v is not None}
    if len(drawn) < len(given):
        raise UserError(
            f"domain '{arguments.domain}': the mini world has {', '.join(domains)}; choose one of them, "
            "or give --species and --style."
        )
    for key, known in (("species", draws["species"]), ("style", draws["styles"])):
        if drawn[key] not in known:
            raise UserError(f"{key} '{drawn[key]}': choose one of {', '.join(known)}.")
    if not 1 <= arguments.count <= LARGEST:
        raise UserError(f"count {arguments.count}: must be 1..{LARGEST}.")
    from nada.images.arrays import save_images
    from nada.run.outputs import check_output

    check_output(arguments.out)

    images = reference_images(
        arguments.domain,
        **drawn,
        count=arguments.count,
        resolution=arguments.resolution or world["resolution"],
    )
    save_images(arguments.out, images)
    print(f"{arguments.count} real images of {arguments.domain} -> {arguments.out}")


if __name__ == "__main__":
    raise SystemExit(main())
