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
    """One file at /v.mp4; the first answer may break off; ranges are honoured."""

    content = b""
    tag = '"one"'
    break_after: list[int]
    asked: list[str]


class Handler(http.server.BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        server = self.server
        wanted = self.headers.get("Range", "")
        server.asked.append(wanted)
        if self.path != "/v.mp4":
            self.send_error(404)
            return
        start = int(wanted[6:-1]) if wanted else 0
        piece = server.content[start:]
        self.send_response(206 if wanted else 200)
        self.send_header("Content-Length", str(len(piece)))
        self.send_header("ETag", server.tag)
        if wanted:
            total = len(server.content)
            self.send_header("Content-Range", f"bytes {start}-{total - 1}/{total}")
        self.end_headers()
        if server.break_after:
            self.wfile.write(piece[: server.break_after.pop(0)])
        else:
            self.wfile.write(piece)


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> bytes:
    path = tmp_path_factory.mktemp("video") / "v.mp4"
    noise = np.random.default_rng(0).integers(0, 255, (25, 192, 192, 3), dtype=np.uint8)
    clip.write_video(path, noise, None)
    return path.read_bytes()


@pytest.fixture
def server(video):
    serving = Server(("127.0.0.1", 0), Handler)
    serving.content, serving.break_after, serving.asked = video, [], []
    thread = threading.Thread(target=serving.serve_forever)
    thread.start()
    yield serving
    serving.shutdown()
    thread.join()
    serving.server_close()


@pytest.fixture
def ada(server) -> known.KnownPerson:
    address = f"http://127.0.0.1:{server.server_port}/v.mp4"
    return known.KnownPerson("a test", "free to test with", "whole", "whole", address)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.endswith(".lock")}


def test_a_clip_is_fetched_once_and_recorded(tmp_path, server, ada, video, capsys):
    path = known.fetch("ada", tmp_path, ada)
    assert path == tmp_path / "ada.mp4" and path.read_bytes() == video
    record = json.loads((tmp_path / "ada.fetched.json").read_text())
    assert record["sha256"] == runs.sha256(path) and record["terms"] == "free to test with"
    assert names(tmp_path) == {"ada.mp4", "ada.fetched.json"}
    assert "fetching ada: 100 %" in capsys.readouterr().out
    assert known.fetch("ada", tmp_path, ada) == path and server.asked == [""]


def test_a_cut_off_download_goes_on_at_once(tmp_path, server, ada, video):
    server.break_after = [3 * known.CHUNK + 100, known.CHUNK + 100]
    assert known.fetch("ada", tmp_path, ada).read_bytes() == video
    wanted = [f"bytes={n * known.CHUNK}-" for n in (3, 4)]
    assert server.asked == ["", *wanted] and len(video) > 5 * known.CHUNK


def test_a_download_given_up_goes_on_the_next_time(tmp_path, server, ada, video):
    server.break_after = [known.CHUNK, 0, 0]
    with pytest.raises(FileNotFoundError, match="goes on where it stopped") as caught:
        known.fetch("ada", tmp_path, ada)
    assert "\n" not in str(caught.value) and not (tmp_path / "ada.mp4").exists()
    assert known.fetch("ada", tmp_path, ada).read_bytes() == video
    assert server.asked[-1] == f"bytes={known.CHUNK}-" and names(tmp_path) == {
        "ada.mp4",
        "ada.fetched.json",
    }


def test_a_file_that_changed_meanwhile_is_fetched_anew(tmp_path, server, ada, video):
    server.content, server.break_after = b"x" * 5 * known.CHUNK, [known.CHUNK, 0, 0]
    with pytest.raises(FileNotFoundError):
        known.fetch("ada", tmp_path, ada)
    server.content, server.tag = video, '"two"'
    assert known.fetch("ada", tmp_path, ada).read_bytes() == video
    assert server.asked[-2:] == [f"bytes={known.CHUNK}-", ""]


def test_a_wrong_checksum_leaves_nothing(tmp_path, ada):
    with pytest.raises(ValueError, match="sha256 0123 expected") as caught:
        known.fetch("ada", tmp_path, replace(ada, sha256="0123"))
    assert "\n" not in str(caught.value) and not names(tmp_path)


def test_the_first_download_is_what_later_ones_are_checked_against(tmp_path, server, ada, video):
    known.fetch("ada", tmp_path, ada).unlink()
    server.content = video + b"\0"
    with pytest.raises(ValueError, match="did not give the clip of ada"):
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
    monkeypatch.delenv("GENEFACE_KIT_OFFLINE", raising=False)
    monkeypatch.setattr(known, "KNOWN", {"ada": ada})
    return tmp_path / "data" / "persons"


def test_a_known_person_is_found_by_name(home, server, video, caplog):
    with caplog.at_level(logging.INFO):
        assert person.find("ada") == home / "ada.mp4"
    assert "terms: free to test with" in caplog.text
    assert person.find("ada").read_bytes() == video and len(server.asked) == 1


def test_the_users_own_clip_comes_before_a_download(home, server):
    home.mkdir(parents=True)
    (home / "ada.mp4").write_bytes(b"mine")
    assert person.find("ada") == home / "ada.mp4" and not server.asked


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
    assert not server.asked
