"""Known persons: downloads from a local server: whole, cut off, changed, wrong, absent."""

import hashlib
import http.server
import io
import logging
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from geneface_kit import runs
from geneface_kit.person import clip, known
from geneface_kit.person import stage as person


class Server(http.server.ThreadingHTTPServer):
    """One file at /v.mp4 and at /v.zip; answers may break off."""

    content = b""
    break_after: list[int]
    n_asked = 0


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server
        server.n_asked += 1
        if self.path not in ("/v.mp4", "/v.zip"):
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(server.content)))
        self.end_headers()
        whole = len(server.content)
        self.wfile.write(
            server.content[: server.break_after.pop() if server.break_after else whole]
        )


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("video") / "v.mp4"
    noise = np.random.default_rng(0).integers(0, 255, (25, 192, 192, 3), dtype=np.uint8)
    clip.write_video(path, noise, None)
    return path.read_bytes()


@pytest.fixture
def server(video):
    serving = Server(("127.0.0.1", 0), Handler)
    serving.content, serving.break_after = video, []
    thread = threading.Thread(target=serving.serve_forever)
    thread.start()
    yield serving
    serving.shutdown()
    thread.join()
    serving.server_close()


@pytest.fixture(autouse=True)
def online(monkeypatch):
    monkeypatch.delenv("GENEFACE_KIT_OFFLINE", raising=False)


@pytest.fixture
def ada(server) -> known.KnownPerson:
    address = f"http://127.0.0.1:{server.server_port}/v.mp4"
    return known.KnownPerson("a test", "free to test with", address)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}


def test_a_clip_is_fetched_once(tmp_path, server, ada, video):
    path = known.fetch("ada", tmp_path, ada)
    assert path == tmp_path / "ada.mp4" and path.read_bytes() == video
    assert names(tmp_path) == {"ada.mp4"}
    assert known.fetch("ada", tmp_path, ada) == path and server.n_asked == 1


def test_a_cut_off_download_leaves_nothing_and_can_be_had_again(tmp_path, server, ada, video):
    server.break_after = [len(video) // 2]
    with pytest.raises(FileNotFoundError, match="run again") as caught:
        known.fetch("ada", tmp_path, ada)
    assert "\n" not in str(caught.value) and not names(tmp_path)
    assert known.fetch("ada", tmp_path, ada).read_bytes() == video


def test_a_page_is_no_clip(tmp_path, server, ada):
    server.content = b"<html>please sign in</html>"
    with pytest.raises(ValueError, match="it is no video"):
        known.fetch("ada", tmp_path, ada)
    assert not names(tmp_path)


def test_a_file_not_there_is_one_sentence(tmp_path, ada):
    with pytest.raises(FileNotFoundError, match=r"answered 404.*ada\.mp4 yourself") as caught:
        known.fetch("ada", tmp_path, replace(ada, address=ada.address + ".gone"))
    assert "\n" not in str(caught.value) and not names(tmp_path)


def test_no_server_is_one_sentence(tmp_path, ada):
    nowhere = replace(ada, address="http://127.0.0.1:9/v.mp4")
    with pytest.raises(FileNotFoundError, match="could not be fetched") as caught:
        known.fetch("ada", tmp_path, nowhere)
    assert "\n" not in str(caught.value) and not names(tmp_path)


def test_a_clip_without_address_says_where_it_is(tmp_path):
    with pytest.raises(FileNotFoundError, match="by hand: GeneFace"):
        known.fetch("lieu", tmp_path)


@pytest.mark.parametrize("name", known.KNOWN)
def test_the_table_says_whose_and_on_what_terms(name):
    entry = known.KNOWN[name]
    published = ("github.com", "doi 10.")
    assert any(one in entry.source for one in published)
    assert entry.terms
    hosts = ("https://github.com/", "https://zenodo.org/records/")
    assert entry.address == "" or entry.address.startswith(hosts)


@pytest.fixture
def home(tmp_path, monkeypatch, ada) -> Path:
    """A project's folder in which only ada is known."""
    monkeypatch.setenv("GENEFACE_KIT_ROOT", str(tmp_path))
    monkeypatch.delenv("GENEFACE_KIT_DATA", raising=False)
    monkeypatch.setattr(known, "KNOWN", {"ada": ada})
    return tmp_path / "data" / "persons"


def test_a_known_person_is_found_by_name(home, server, video, caplog):
    with caplog.at_level(logging.INFO):
        assert person.find("ada") == home / "ada.mp4"
    assert "terms: free to test with" in caplog.text
    assert person.find("ada").read_bytes() == video and server.n_asked == 1


def test_the_users_own_clip_comes_before_a_download(home, server):
    home.mkdir(parents=True)
    (home / "ada.mp4").write_bytes(b"mine")
    assert person.find("ada") == home / "ada.mp4" and not server.n_asked


def test_offline_nothing_is_asked_for(home, server, monkeypatch):
    monkeypatch.setenv("GENEFACE_KIT_OFFLINE", "1")
    with pytest.raises(FileNotFoundError, match=r"data/persons/ada\.mp4.*a test"):
        person.find("ada")
    assert not server.n_asked


def packed(**clips: bytes) -> bytes:
    """A zip that holds clips deep in it, others beside them, and what some systems add."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name, content in clips.items():
            archive.writestr(f"s1/video/{name}.mpg", content)
            archive.writestr(f"__MACOSX/._{name}.mpg", b"no clip")
        archive.writestr("s1/other.mpg", b"another sentence")
    return held.getvalue()


@pytest.fixture
def eve(ada, server) -> known.KnownPerson:
    """A person of two clips, served as a zip."""
    server.content = packed(one=b"first", two=b"second")
    digests = {"one.mpg": b"first", "two.mpg": b"second"}
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in digests.items()}
    return replace(ada, address=ada.address.replace(".mp4", ".zip"), clips=digests)


def test_grid_s1_is_ten_clips_whose_terms_are_named():
    entry = known.KNOWN["grid_s1"]
    assert entry.address == "https://zenodo.org/records/3625687/files/s1.zip"
    assert "CC BY 4.0" in entry.terms and "doi 10.5281/zenodo.3625687" in entry.source
    assert all(one in entry.source for one in ("Cooke", "Barker", "Cunningham", "Shao"))
    assert len(entry.clips) == len(set(entry.clips.values())) == 10
    assert all(
        name.endswith(".mpg") and len(bytes.fromhex(digest)) == 32
        for name, digest in entry.clips.items()
    )


def test_the_clips_of_grid_s1_are_those_of_the_table(shared_data):
    folder = shared_data / "persons" / "grid_s1"
    if not folder.is_dir():
        pytest.skip(f"no clips of grid_s1 at {folder}")
    assert {path.name: runs.sha256(path) for path in folder.glob("*.mpg")} == (
        known.KNOWN["grid_s1"].clips
    )


def test_a_person_of_several_clips_is_found_by_name(home, server, eve, monkeypatch, caplog):
    monkeypatch.setattr(known, "KNOWN", {"eve": eve})
    with caplog.at_level(logging.INFO):
        assert person.find("eve") == home / "eve"
    assert "terms: free to test with" in caplog.text
    assert names(home) == {"eve"}, "the zip is not kept"
    assert [path.read_bytes() for path in person.clips_of(home / "eve")] == [b"first", b"second"]
    assert names(home / "eve") == {"one.mpg", "two.mpg"}
    assert person.find("eve") == home / "eve" and server.n_asked == 1


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (packed(one=b"first"), r"lacks two\.mpg"),
        (packed(one=b"other", two=b"second"), r"lacks one\.mpg \(sha256 a7937b"),
        (b"<html>please sign in</html>", "not a zip file"),
        (packed(one=b"first", two=b"second").replace(b"second", b"secind"), "Bad CRC-32"),
    ],
    ids=["a clip is missing", "a clip is another", "no zip", "damaged"],
)
def test_unless_all_clips_are_right_there_is_none(tmp_path, server, eve, content, said):
    whole, server.content = server.content, content
    with pytest.raises(ValueError, match=said) as caught:
        known.fetch("eve", tmp_path, eve)
    assert "\n" not in str(caught.value) and not names(tmp_path)
    server.content, server.break_after = whole, [len(whole) // 2]
    with pytest.raises(FileNotFoundError, match="run again"):
        known.fetch("eve", tmp_path, eve)
    assert not names(tmp_path)
    assert known.fetch("eve", tmp_path, eve).is_dir()


def test_a_zip_that_was_put_there_is_read_and_stays(tmp_path, server, eve):
    (tmp_path / "eve.zip").write_bytes(server.content)
    assert names(known.fetch("eve", tmp_path, eve)) == {"one.mpg", "two.mpg"}
    assert (tmp_path / "eve.zip").read_bytes() == server.content and not server.n_asked


def test_a_folder_may_hold_more_than_the_clips(tmp_path, server, eve):
    folder = known.fetch("eve", tmp_path, eve)
    (folder / "mine.mpg").write_bytes(b"a clip of the user's own may lie beside")
    assert known.fetch("eve", tmp_path, eve) == folder and server.n_asked == 1


def test_a_folder_without_the_clips_is_not_taken_for_them(home, server, eve):
    (home / "eve").mkdir(parents=True)
    (home / "eve" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=r"lacks one\.mpg"):
        known.fetch("eve", home, eve)
    assert names(home) == {"eve"} and not server.n_asked
