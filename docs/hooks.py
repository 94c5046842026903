"""What the site has beside the pages in this folder: other pages of the repository, and its API.

Pages link to files as they lie in the repository, so that links work there too. Here they are
turned to the site's own pages; other files that a page leads to become part of the site.
"""

import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
# Of the repository, by their place in the site; folders lead to the page that shows them.
PAGES = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "config/README.md": "configuration.md",
}
FOLDERS = {"examples": "library.md", "results/reference": "figures.md"}
_LINK = re.compile(r"(!?\[[^\]]*\]\()([^)#\s]+)((?:#[^)\s]*)?\))")
_API = """# `dansm.{name}`

::: dansm.{name}
"""


def rooms() -> list[str]:
    """Return the library's rooms in their order."""
    text = (ROOT / "src/dansm/__init__.py").read_text(encoding="utf-8")
    return re.findall(r"``(\w+)``", text)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the API's pages into the navigation."""
    config.nav[-1]["API"] = [{f"dansm.{name}": f"api/{name}.md"} for name in rooms()]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the repository's other pages, and one for each room of the library."""
    for source, page in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    for name in rooms():
        files.append(File.generated(config, f"api/{name}.md", content=_API.format(name=name)))
    return files


def on_page_markdown(text: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn a page's links to files of the repository into links of the site."""
    if page.file.src_uri.startswith("api/"):
        return text
    here = next((path for path, name in PAGES.items() if name == page.file.src_uri), None)
    source = ROOT / (here or f"docs/{page.file.src_uri}")

    def link(found: re.Match[str]) -> str:
        begin, target, end = found.groups()
        if ":" in target:
            return found[0]
        path = Path(os.path.normpath(source.parent / target)).relative_to(ROOT).as_posix()
        place = PAGES.get(path) or FOLDERS.get(path) or path.removeprefix("docs/")
        if files.get_file_from_path(place) is None and (ROOT / path).is_file():
            files.append(File.generated(config, place, abs_src_path=str(ROOT / path)))
        return begin + os.path.relpath(place, Path(page.file.src_uri).parent) + end

    return _LINK.sub(link, text)


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn a notebook's links to pages into links of the site, as is done of Markdown."""
    if not page.file.src_uri.endswith(".ipynb"):
        return html
    return re.sub(r'(href="[^":]+)\.(?:md|ipynb)(["#])', r"\1.html\2", html)
