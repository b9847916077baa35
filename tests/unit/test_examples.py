"""The programs in examples/, on the standard library and on procession: they check their own results."""

import gzip
import pathlib
import subprocess
import sys
import tarfile

import pytest

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
RUNNERS = {"multiprocessing": [], "procession": ["-m", "procession", "run"]}


@pytest.fixture(params=RUNNERS)
def run(request, tmp_path):
    def run(name, *arguments):
        command = [sys.executable, *RUNNERS[request.param], EXAMPLES / name, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=50)
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    return run


def test_bank(run):
    lines = run("bank.py", "-p3", "-n300")
    assert lines[0].startswith("900 transfers, ")
    assert lines[1] == "10000 in 10 accounts, as at the beginning"


def test_diners(run):
    assert run("diners.py", "-p4", "-n50") == ["4 diners had 50 meals each, no fork was shared"]


def test_traffic_light(run):
    assert run("traffic_light.py", "-p3", "-n50", "--phase=0.002") == ["3 cars crossed 150 times"]


def test_phases(run, tmp_path):
    pytest.importorskip("numpy")
    pytest.importorskip("matplotlib")
    lines = run("phases.py", "-s40", "-n30", "-p3", "-oheat.png")
    assert lines[0].startswith("30 phases by 3 processes: from 0.00 to ")
    assert lines[1] == "drawn to heat.png"
    picture = (tmp_path / "heat.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 500


@pytest.fixture
def folder(tmp_path):
    """Twenty files, and what the archive must hold of them."""
    contents = {f"{n}/{n}.txt": b"procession " * n for n in range(20)}
    for name, content in contents.items():
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    return {f"{name}.gz": content for name, content in contents.items()}


def unpacked(path):
    with tarfile.open(path) as archive:
        return {
            member.name: gzip.decompress(archive.extractfile(member).read())
            for member in archive.getmembers()
        }


@pytest.mark.parametrize("way", ["sentinels", "joinable"])
def test_archive(run, folder, tmp_path, way):
    (line,) = run("archive.py", "folder", "out.tar", "--way", way)
    assert line.startswith("20 files, ")
    assert unpacked(tmp_path / "out.tar") == folder


@pytest.mark.parametrize("options", [["streams"], ["redelivery"], ["redelivery", "--kill"]], ids=" ".join)
def test_archive_streams(folder, tmp_path, options):
    command = [sys.executable, EXAMPLES / "archive_streams.py", "folder", "out.tar", "--way", *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=50)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("20 files, ")
    assert unpacked(tmp_path / "out.tar") == folder


def test_pages(run, tmp_path):
    assert run("pages.py", "-p2", "-n60") == ["54 pages, 6 not there"]
    assert len((tmp_path / "pages.txt").read_text().splitlines()) == 54


def test_monte_carlo(tmp_path):
    command = [sys.executable, EXAMPLES / "monte_carlo.py", "-p2", "-t8", "-n40000", "-q"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=50)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("pi is about 3.1")
    assert (tmp_path / "monte_carlo.png").stat().st_size > 1000
    assert list(tmp_path.iterdir()) == [tmp_path / "monte_carlo.png"]


def test_word_index(tmp_path):
    """Uses procession's own containers, so there is no run on the standard library."""
    for name, text in {"a.py": "one two two", "b.py": "two three", "c.py": "three; two, one"}.items():
        (tmp_path / name).write_text(text)
    command = [sys.executable, EXAMPLES / "word_index.py", ".", "-p3", "--find", "one", "nothing"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=50, check=True)
    assert done.stdout.splitlines()[:6] == [
        "one: a.py, c.py",
        "nothing: nowhere",
        "       3  two",
        "       2  one",
        "       2  three",
        "       3  words, 7 places in 3 files",
    ]


@pytest.mark.parametrize("options", [[], ["--kill"]], ids=["plain", "kill"])
def test_relief(tmp_path, options):
    pytest.importorskip("matplotlib")
    command = [sys.executable, EXAMPLES / "relief.py", "-p2", "-t1", "-s4", *options]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=50)
    assert (done.returncode, done.stderr) == (0, "")
    lost = len(options)
    assert done.stdout.splitlines()[0] == f"6 strips of 403 columns, {lost} of them lost and done again"
    assert (tmp_path / "relief.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("holder", RUNNERS)
def test_remote_manager(run, holder):
    """Either library holds the board, and either works on it; a wrong key is turned away."""
    command = [sys.executable, *RUNNERS[holder], EXAMPLES / "remote_manager.py", "hold", "--key=k", "-n5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        try:
            port = program.stdout.readline().split()[1]
            wrong = [sys.executable, EXAMPLES / "remote_manager.py", "work", port, "--key=other"]
            refused = subprocess.run(wrong, capture_output=True, text=True, timeout=50)
            assert "AuthenticationError: digest sent was rejected" in refused.stderr
            assert run("remote_manager.py", "work", port, "--key=k") == ["5 numbers"]
            lines = program.stdout.read().splitlines()
            assert program.wait(20) == 0
        finally:
            program.kill()
    assert lines[0] == "1073741825 = 5 * 5 * 13 * 41 * 61 * 1321"
    assert len(lines) == 5
