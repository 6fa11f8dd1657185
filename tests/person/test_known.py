"""Known persons: downloads from a local server: whole, cut off, changed, wrong, absent."""

import http.server
import json
import logging
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from geneface_kit import runs
from geneface_kit.person import clip, known
from geneface_kit.person import stage as person


class Server(http.server.ThreadingHTTPServer):
    """One file at /v.mp4; answers may break off."""

    content = b""
    break_after: list[int]
    n_asked = 0


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server
        server.n_asked += 1
        if self.path != "/v.mp4":
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
    return known.KnownPerson("a test", "free to test with", "whole", "whole", address)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}


def test_a_clip_is_fetched_once_and_recorded(tmp_path, server, ada, video):
    path = known.fetch("ada", tmp_path, ada)
    assert path == tmp_path / "ada.mp4" and path.read_bytes() == video
    record = json.loads((tmp_path / "ada.fetched.json").read_text())
    assert record["sha256"] == runs.sha256(path) and record["terms"] == "free to test with"
    assert names(tmp_path) == {"ada.mp4", "ada.fetched.json"}
    assert known.fetch("ada", tmp_path, ada) == path and server.n_asked == 1


def test_a_cut_off_download_leaves_nothing_and_can_be_had_again(tmp_path, server, ada, video):
    server.break_after = [len(video) // 2]
    with pytest.raises(FileNotFoundError, match="run again") as caught:
        known.fetch("ada", tmp_path, ada)
    assert "\n" not in str(caught.value) and not names(tmp_path)
    assert known.fetch("ada", tmp_path, ada).read_bytes() == video


def test_a_wrong_checksum_leaves_nothing(tmp_path, ada):
    with pytest.raises(ValueError, match="sha256 0123 expected") as caught:
        known.fetch("ada", tmp_path, replace(ada, sha256="0123"))
    assert "\n" not in str(caught.value) and not names(tmp_path)


def test_the_first_download_is_what_later_ones_are_checked_against(tmp_path, server, ada, video):
    known.fetch("ada", tmp_path, ada).unlink()
    server.content = video + b"\0"
    with pytest.raises(ValueError, match="did not give ada.mp4"):
        known.fetch("ada", tmp_path, ada)
    assert names(tmp_path) == {"ada.fetched.json"}


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
    assert "github.com" in entry.source and entry.terms and entry.crop and entry.span
    assert entry.address == "" or entry.address.startswith("https://github.com/")


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


def test_a_fetched_clip_that_changed_is_not_used_silently(home):
    person.find("ada").write_bytes(b"other")
    with pytest.raises(ValueError, match="is not the file that was fetched"):
        person.find("ada")
    (home / "ada.fetched.json").unlink()
    assert person.find("ada") == home / "ada.mp4"


def test_offline_nothing_is_asked_for(home, server, monkeypatch):
    monkeypatch.setenv("GENEFACE_KIT_OFFLINE", "1")
    with pytest.raises(FileNotFoundError, match=r"data/persons/ada\.mp4.*a test"):
        person.find("ada")
    assert not server.n_asked
