"""Every Python block of the reference and of the README runs: those of a page one after the other, as one program."""

import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SAID = re.compile(r"^\s*print\(.*\)  # (.+)$", re.MULTILINE)  # what a line says that it prints
PAGES = [
    page
    for page in (ROOT / "README.md", *sorted((ROOT / "docs" / "reference").glob("*.md")))
    if BLOCK.search(page.read_text())
]


def test_there_are_pages():
    assert {page.stem for page in PAGES} >= {"README", "queues", "shared-containers", "managers"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_blocks_of_a_page(page, tmp_path):
    text = "\n".join(BLOCK.findall(page.read_text()))
    program = tmp_path / "page.py"
    program.write_text(text)
    done = subprocess.run(
        [sys.executable, program], capture_output=True, text=True, timeout=120, check=False, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    lines = done.stdout.splitlines()
    for said in SAID.findall(text):
        assert said in lines
