"""A hook of MkDocs (mkdocs.yml): README.md as the first page, and pages for what lies outside of docs/.

The pages of docs/ link to files of the repository as a reader of the repository would: relative to the page. On
the site each such file gets a page of its own under source/, so that all links work offline: text as a listing,
Markdown of results/ as it is, pictures as files, a folder as the list of its files. A link to a file that does not
exist is left alone, and MkDocs in strict mode reports it.
"""

import os
import re
from pathlib import Path, PurePosixPath

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent
HOME, README = "index.md", "README.md"
FOLDER = "source"  # of the generated pages
PICTURES = (".png", ".svg")
LANGUAGES = {".py": "python", ".yaml": "yaml", ".smk": "python", ".md": "markdown", ".csv": "text"}
LINK = re.compile(r"(?<=\]\()([^)\s#]+)(#[^)\s]*)?(?=\))")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
UNSEARCHED = "---\nsearch: {exclude: true}\n---\n"


def on_files(files, config):
    """Add the first page and a page for each linked file of the repository."""
    files.append(File.generated(config, HOME, content=(ROOT / README).read_text(encoding="utf-8")))
    pages = {origin(file.src_uri): file for file in files.documentation_pages()}
    found = {path for page, file in pages.items() for path in outside(page, file.content_string)}
    for path in sorted(found):
        target = ROOT / path
        if path.suffix in PICTURES:
            files.append(File.generated(config, str(address(path)), abs_src_path=str(target)))
        else:
            files.append(File.generated(config, str(address(path)), content=text(path)))
    return files


def on_page_markdown(markdown, page, **_):
    """Turn the page's links to files of the repository into links to pages of the site."""
    uri = page.file.src_uri
    return markdown if uri.startswith(f"{FOLDER}/") else relinked(markdown, origin(uri), uri)


def origin(uri: str) -> PurePosixPath:
    """The path in the repository of a page of the site."""
    return PurePosixPath(README) if uri == HOME else PurePosixPath("docs", uri)


def linked(page: PurePosixPath, link: str) -> PurePosixPath | None:
    """The path in the repository that a page's relative link names; None if there is no such file."""
    if ":" in link or link.startswith("/"):
        return None
    path = PurePosixPath(os.path.normpath(page.parent / link))
    return path if (ROOT / path).exists() and ".." not in path.parts else None


def mkdocs_has(path: PurePosixPath) -> bool:
    """Whether MkDocs has the file itself: a page or picture of docs/, or README.md."""
    return path == PurePosixPath(README) or (path.parts[0] == "docs" and path.suffix in (".md", *PICTURES))


def outside(page: PurePosixPath, markdown: str) -> set[PurePosixPath]:
    """The files that a page links to and that need a page of their own."""
    links = {linked(page, link) for link, _ in LINK.findall(FENCE.sub("", markdown))}
    return {path for path in links if path is not None and not mkdocs_has(path)}


def address(path: PurePosixPath) -> PurePosixPath:
    """The source address on the site of a file of the repository."""
    if path == PurePosixPath(README):
        return PurePosixPath(HOME)
    if mkdocs_has(path):
        return path.relative_to("docs")
    named = PurePosixPath(FOLDER, path)
    return named if path.suffix in PICTURES else named.with_name(f"{named.name}.md")


def relinked(markdown: str, page: PurePosixPath, uri: str) -> str:
    """A page's text with its links as they are on the site; fenced blocks stay as they are."""

    def replace(match):
        path = linked(page, match[1])
        if path is None:
            return match[0]
        return os.path.relpath(address(path), PurePosixPath(uri).parent) + (match[2] or "")

    parts, end = [], 0
    for fence in FENCE.finditer(markdown):
        parts += [LINK.sub(replace, markdown[end : fence.start()]), fence[0]]
        end = fence.end()
    return "".join([*parts, LINK.sub(replace, markdown[end:])])


def text(path: PurePosixPath) -> str:
    """The page of a file or folder of the repository."""
    target = ROOT / path
    if target.is_dir():
        names = sorted(child.name + "/" * child.is_dir() for child in target.iterdir() if child.name[0] != ".")
        return f"{UNSEARCHED}# `{path}/`\n\n" + "\n".join(f"- `{name}`" for name in names) + "\n"
    content = target.read_text(encoding="utf-8")
    if path.suffix == ".md" and path.parts[0] == "results":
        return f"{UNSEARCHED}# `{path}`\n\n{content}"
    fence = "`" * max(4, 1 + max(map(len, re.findall("`+", content)), default=0))
    return f"{UNSEARCHED}# `{path}`\n\n{fence}{LANGUAGES.get(path.suffix, 'text')}\n{content}\n{fence}\n"
