"""The peers: found or visibly absent, configured by committed templates only."""

import re

import pytest

from retrospective.lab.peers import _CONFIGURATIONS, PEERS


def test_every_peer_has_a_committed_configuration():
    assert {path.stem for path in _CONFIGURATIONS.glob("*.conf")} == set(PEERS)


@pytest.mark.parametrize("sendfile", ["on", "off"])
@pytest.mark.parametrize("multi_accept", ["on", "off"])
def test_nginx_as_the_experiment_says(tmp_path, sendfile, multi_accept):
    options = {"sendfile": sendfile, "multi_accept": multi_accept, "backlog": 77}
    text = PEERS["nginx"].configuration(tmp_path, "10.0.0.1:8080", options, "/scratch")
    for line in (
        *("access_log off", "worker_processes 1", "listen 10.0.0.1:8080 backlog=77", f"root {tmp_path}"),
        *(f"sendfile {sendfile}", f"multi_accept {multi_accept}"),
    ):
        assert re.search(rf"^\s*{re.escape(line)};", text, re.MULTILINE), line
    assert re.search(r"^\s*open_file_cache max=", text, re.MULTILINE)
    assert "$" not in text.split("\n", 1)[1]


@pytest.mark.parametrize("name", [*PEERS])
def test_options_it_does_not_have_are_refused(name, tmp_path):
    with pytest.raises(ValueError, match=rf"{name} has no option acept-limit: it has .*max_connections"):
        PEERS[name].configuration(tmp_path, "10.0.0.1:80", {"acept-limit": 1}, tmp_path)


@pytest.mark.parametrize("name", [*PEERS])
def test_what_all_of_them_are_told(name, tmp_path):
    """Where to listen, what to serve, no folder of this machine, nothing left to fill in."""
    text = PEERS[name].configuration(tmp_path / "root", "10.0.0.1:8080", {}, tmp_path / "scratch")
    told = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    assert "10.0.0.1" in told
    assert "8080" in told
    assert str(tmp_path / "root") in told
    assert "$" not in told
    assert re.search(r"^ *(etag off;|static-file.etags = \"disable\"|file.etag: OFF)", told, re.MULTILINE)
    for path in re.findall(r"(?<![\w.:/])/\w[\w/.-]*", told.replace(str(tmp_path), "")):
        assert path in ("/root", "/dev/null") or path.startswith("/scratch"), path


@pytest.mark.parametrize("allowed", [True, False])
def test_h2o_takes_on_an_identity_only_where_that_is_allowed(allowed, monkeypatch, tmp_path):
    monkeypatch.setattr("retrospective.lab.peers._may_set_groups", lambda: allowed)
    text = PEERS["h2o"].configuration(tmp_path, "10.0.0.1:8080", {}, tmp_path)
    assert ("\nuser: root\n" in text) is allowed
    if PEERS["h2o"].path():
        assert (PEERS["h2o"].argv("conf", tmp_path)[0] == "/bin/sh") is not allowed


@pytest.mark.parametrize("name", [*PEERS])
def test_absent_is_said(name, monkeypatch, tmp_path):
    if PEERS[name].path():
        assert re.match(r"\d+\.\d+", PEERS[name].version())
    monkeypatch.setattr("retrospective.lab.peers._SEARCH", str(tmp_path))
    assert PEERS[name].path() is PEERS[name].version() is None
    with pytest.raises(FileNotFoundError, match="make system"):
        PEERS[name].command(tmp_path, "127.0.0.1:1", {}, tmp_path)
