"""The documentation's site: it builds strictly, loads nothing from elsewhere, and its reference has everything."""

import hashlib
import html
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml
from playwright.sync_api import expect, sync_playwright

from scripts import documentation, reference_pages

ROOT = Path(__file__).resolve().parents[3]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "roles").glob("*/README.md"))]
LOADED = re.compile(r"<(?:script|img|iframe|source)\b[^>]*?\bsrc=\"?([^\" >]+)|<link\b[^>]*?\bhref=\"?([^\" >]+)")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built with the settings of `make docs`: a link or an anchor that leads nowhere fails the build."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [Path(sys.executable).parent / "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def pages(site: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(site.rglob("*.html")):
        yield path, path.read_text(encoding="utf-8")


def test_the_site_loads_nothing_from_elsewhere(site: Path) -> None:
    loaded = {(path.name, *found) for path, text in pages(site) for found in LOADED.findall(text)}
    assert len(loaded) > 100
    assert [found for found in loaded if re.match(r"(https?:)?//", found[1] or found[2])] == []
    for path in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", path.read_text(encoding="utf-8")), path


def test_everything_that_a_page_names_is_there(site: Path) -> None:
    missing = set()
    for path, text in pages(site):
        if path.name == "404.html":  # its addresses begin at a server's root
            continue
        for found in re.findall(r"\b(?:src|href)=\"([^\"]+)\"", text):
            target, _, _ = unquote(html.unescape(found)).partition("#")
            if target and not re.match(r"[a-z]+:", target) and not (path.parent / target.partition("?")[0]).exists():
                missing.add((str(path.relative_to(site)), found))
    assert missing == set()


def test_the_search_finds_words_of_documents_and_of_the_reference(site: Path) -> None:
    # The same, once for a server and once for a folder.
    entries = json.loads((site / "search/search_index.json").read_text(encoding="utf-8"))["docs"]
    assert (site / "search/search_index.js").stat().st_size > 100_000
    for word, place in {
        "keeper": "production.html",
        "overlay_slots": "reference/plugins/modules.html",
        "createBooking": "reference/api/bookings.html",
    }.items():
        found = {entry["location"].partition("#")[0] for entry in entries if word in entry["text"] + entry["title"]}
        assert place in found, word


def test_a_page_opened_from_the_folder_searches_and_asks_nobody(site: Path) -> None:
    path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if path is None:
        pytest.skip("no Chromium here")
    asked = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-gpu", "--no-first-run"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.on("request", lambda request: asked.append(request.url))
        page.goto((site / "index.html").as_uri())
        page.click(".md-search__input")
        page.keyboard.type("keeper")
        expect(page.locator(".md-search-result__list")).to_contain_text("One run at a time", timeout=60_000)
        # No page is wider than a phone: what is too wide scrolls by itself.
        page.set_viewport_size({"width": 390, "height": 844})
        for name in ("index.html", "production.html", "reference/playbooks.html", "reference/api/schemas.html"):
            page.goto((site / name).as_uri())
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, name
        browser.close()
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


def test_the_reference_has_every_playbook_role_and_plugin(site: Path) -> None:
    def anchors(page: str) -> set[str]:
        return set(re.findall(r"<h2 id=\"([^\"]+)\"", (site / "reference" / page).read_text(encoding="utf-8")))

    assert {path.stem for path in (ROOT / "playbooks").glob("*.yml")} <= anchors("playbooks.html")
    assert {path.stem for path in (ROOT / "library").glob("*.py")} <= anchors("plugins/modules.html")
    assert {path.stem for path in (ROOT / "inventory_plugins").glob("*.py")} <= anchors("plugins/inventory.html")
    assert {path.stem for path in (ROOT / "filter_plugins").glob("*.yml")} <= anchors("plugins/filters.html")
    assert {path.stem for path in (ROOT / "callback_plugins").glob("*.py")} <= anchors("plugins/callbacks.html")
    for role in (ROOT / "roles").iterdir():
        options = yaml.safe_load((role / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
        page = (site / f"reference/roles/{role.name}.html").read_text(encoding="utf-8")
        assert [name for name in options if f"<code>{name}</code>" not in page] == [], role.name


def test_the_reference_has_every_call_of_the_application() -> None:
    text = "".join(reference_pages.api().values())
    told = reference_pages.document()
    calls = [
        operation["operationId"]
        for place in ("paths", "webhooks")
        for methods in told[place].values()
        for operation in methods.values()
    ]
    assert len(calls) > 100
    assert [name for name in calls if f"`{name}`" not in text] == []
    assert [name for name in told["components"]["schemas"] if f"\n## {name}\n" not in text] == []


def test_a_plugins_options_are_those_of_its_fragments_too() -> None:
    document = reference_pages.plugin(ROOT / "library/zerotier_members.py")
    assert document is not None
    assert {"api", "network_id", "members", "purge"} <= set(document["options"])
    assert "`members.address`" in reference_pages.plugins("modules")


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("Needs O(url), or V(null\\)).", "Needs `url`, or `null)`."),
        ("What P(zerotier_explain#filter) gives, *all*.", "What `zerotier_explain` gives, \\*all\\*."),
        (["One <a>.", "B(Two)."], "One &lt;a>. Two."),
    ],
)
def test_ansibles_markup_becomes_markdown(told: str | list[str], shown: str) -> None:
    assert reference_pages.marked(told) == shown


def test_a_playbooks_header_has_its_parts() -> None:
    head = "# Make it.\n# Twice.\n#\n# Required:  a\n#            (b).\n# Example:   x\n# Way back:  y\n"
    text = f"{head}- name: z\n# Optional: not\n"
    assert reference_pages.header(text) == {
        "Purpose": "Make it. Twice.",
        "Required": "a (b).",
        "Example": "x",
        "Way back": "y",
    }


def test_names_in_prose_become_code_and_links() -> None:
    assert reference_pages.prose(
        "roll_waves=10,100 (see docs/awx.md), aws_data_* (roles/aws_data); image=newest lifts."
    ) == (
        "`roll_waves=10,100` (see [awx.md](../awx.md)), `aws_data_*` ([`roles/aws_data`](roles/aws_data.md)); "
        "`image=newest` lifts."
    )


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("Text:\n- a\n- b\n", "Text:\n\n- a\n- b\n"),
        ("1. One\n\n   two\n\nafter\n", "1. One\n\n    two\n\nafter\n"),
        ("- a\n  b\n\n  ```\n  x\n  ```\n", "- a\n    b\n\n    ```\n    x\n    ```\n"),
        ("```\n- a\n```\n", "```\n- a\n```\n"),
        ("a\n\n    code\n", "a\n\n    code\n"),
    ],
)
def test_lists_mean_the_same_in_the_repository_and_on_the_site(given: str, wanted: str) -> None:
    assert documentation.indented(given) == wanted


def test_a_folder_in_the_navigation_is_all_of_its_pages() -> None:
    made = ["r/b.md", "r/index.md", "r/a.md", "other.md"]
    assert documentation.with_folders([{"R": "r/"}, {"X": [{"Y": "x.md"}]}], made) == [
        {"R": ["r/index.md", "r/a.md", "r/b.md"]},
        {"X": [{"Y": "x.md"}]},
    ]


@pytest.mark.parametrize("source", sorted((ROOT / "docs/diagrams").glob("*.dot")), ids=lambda path: path.stem)
def test_a_diagram_is_drawn_from_its_text(source: Path) -> None:
    drawn = source.with_suffix(".svg").read_text(encoding="utf-8")
    assert hashlib.sha256(source.read_bytes()).hexdigest() in drawn, "run scripts/diagrams"
    assert "<script" not in drawn


def with_imported(playbook: Path) -> str:
    """A playbook's text and that of the playbooks that it imports."""
    text = playbook.read_text(encoding="utf-8")
    imported = re.findall(r"import_playbook: ([\w.-]+)$", text, re.MULTILINE)
    return text + "".join(with_imported(playbook.parent / name) for name in imported)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_documents_commands_name_playbooks_and_inputs_that_there_are(document: Path) -> None:
    text = document.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in re.findall(r"ansible-playbook [^\n`]+", text):
        named = re.findall(r"\bplaybooks/([\w.-]+)", line)
        for name in named:
            playbook = ROOT / "playbooks" / name
            assert playbook.is_file(), line
            known = with_imported(playbook) + (ROOT / "playbooks/tasks/hold-lease.yml").read_text()
            for variable in re.findall(r"-e (\w+)=", line):
                assert re.search(rf"\b{variable}\b", known), f"{variable}: {line}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_documents_links_lead_to_files_of_the_repository(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", document.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), target
