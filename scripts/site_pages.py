"""Hook of MkDocs (`mkdocs.yml`): pages of the site that do not lie in docs/, and links that leave docs/.

Documents link to each other and to files of the repository as they lie on the disk, so that the links work
wherever the repository is shown. The site has the same links: README, CONTRIBUTING and CHANGELOG are pages,
a notebook is a page with its outputs (`site_notebooks.py`), and every other file that a page links to comes
along under `files/`, text as a page with its source, anything else as it is. A link to a file that is not
there stays as it is, and MkDocs refuses it.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, InclusionLevel
from site_notebooks import Notebooks

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Documents outside docs/ -> pages of the site."""
HIDDEN = {
    "index.md": "navigation",
    "tutorial.md": "navigation",
    "notebooks/": "toc",
    "files/": "toc",
}
"""Beginning of a page's path -> what it does not show: neighbours it has none of, or a list of its headings,
which leaves room for wide tables."""
LANGUAGES = {".py": "python", ".yaml": "yaml", ".toml": "toml", ".csv": "text", "": "text"}
"""Suffix of a file that is shown as a page -> language of its source."""

LINK = re.compile(r"(?<=\]\()(?P<path>[^)#:\s]+)(?P<anchor>#[^)\s]*)?(?=\))")


def page_of(path: str) -> str:
    """Return where a file of the repository stands in the site's sources.

    Args:
        path: Path within the repository, such as `docs/tasks.md` or `notebooks/inside_pedro.ipynb`.
    """
    if path in PAGES:
        return PAGES[path]
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    if path.endswith(".ipynb"):
        return path.removesuffix(".ipynb") + ".md"
    shown_as_source = posixpath.splitext(path)[1] in LANGUAGES
    return f"files/{path}.md" if shown_as_source else f"files/{path}"


def origin_of(page: str) -> str:
    """Return the path within the repository of a page that is written by hand."""
    by_page = {to: path for path, to in PAGES.items()}
    return by_page.get(page, f"docs/{page}")


def linked(text: str, origin: str) -> dict[str, str]:
    """Return the links of a document to files of the repository, as written -> path within the repository."""
    found = {}
    for link in LINK.finditer(text):
        path = posixpath.normpath(posixpath.join(posixpath.dirname(origin), link["path"]))
        if (REPOSITORY / path).is_file():
            found[link["path"]] = path
    return found


def with_links_of_the_site(text: str, origin: str) -> str:
    """Return a document with its links to files of the repository replaced by those to the site's sources."""
    known, start = linked(text, origin), posixpath.dirname(page_of(origin))

    def replaced(link: re.Match[str]) -> str:
        if link["path"] not in known:
            return link[0]
        target = posixpath.relpath(page_of(known[link["path"]]), start or ".")
        return target + (link["anchor"] or "")

    return LINK.sub(replaced, text)


def source_page(path: str) -> str:
    """Return the Markdown of a page that shows a text file of the repository."""
    language = LANGUAGES[posixpath.splitext(path)[1]]
    text = (REPOSITORY / path).read_text(encoding="utf-8").rstrip()
    return f"---\nsearch:\n  exclude: true\n---\n\n# {path}\n\n`````{language}\n{text}\n`````\n"


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that do not lie in docs/, and what pages link to."""
    notebooks = Notebooks(REPOSITORY, how=config.extra["notebooks"])
    texts = {path: (REPOSITORY / path).read_text(encoding="utf-8") for path in PAGES}
    for path, text in texts.items():
        files.append(File.generated(config, PAGES[path], content=text))
    texts |= {f"docs/{page.src_uri}": page.content_string for page in files.documentation_pages()
              if page.generated_by is None}  # fmt: skip
    wanted = {target for origin, text in texts.items() for target in linked(text, origin).values()}
    wanted |= {f"notebooks/{path.name}" for path in notebooks.paths}
    for path in sorted(wanted):
        if path in texts or path.startswith("docs/"):
            continue
        if path.endswith(".ipynb"):
            for name, content in notebooks.rendered(REPOSITORY / path).items():
                files.append(File.generated(config, f"notebooks/{name}", content=content))
        else:
            files.append(_file(config, path))
    return files


def _file(config: Any, path: str) -> Any:
    """Return the site's copy of a file of the repository."""
    page, hidden = page_of(path), InclusionLevel.NOT_IN_NAV
    if page.endswith(".md") and not path.endswith(".md"):
        return File.generated(config, page, content=source_page(path), inclusion=hidden)
    return File.generated(config, page, abs_src_path=str(REPOSITORY / path), inclusion=hidden)


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let the page's links to files of the repository lead to their pages; give notebooks' tables room."""
    for beginning, hidden in HIDDEN.items():
        if page.file.src_uri.startswith(beginning):
            page.meta["hide"] = [hidden]
    if page.file.src_uri.startswith(("files/", "notebooks/")):
        return markdown
    return with_links_of_the_site(markdown, origin_of(page.file.src_uri))
