"""Pictures of pages: which browser takes them, and what is said without one."""

import stat

import pytest
import screenshots


def program(folder, text):
    path = folder / "chromium"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_without_a_browser_it_says_which_would_do(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CHROMIUM", raising=False)
    with pytest.raises(SystemExit, match="got none of chromium.*name it with CHROMIUM="):
        screenshots.browser()


def test_a_browser_on_the_path_or_by_name_is_taken(monkeypatch, tmp_path):
    path = program(tmp_path, "")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert screenshots.browser() == str(path)
    (tmp_path / "other").mkdir()
    named = program(tmp_path / "other", "")
    monkeypatch.setenv("CHROMIUM", str(named))
    assert screenshots.browser() == str(named)


def test_a_picture_is_written_whole_or_not_at_all(tmp_path):
    page, image = tmp_path / "a page.html", tmp_path / "images" / "page.png"
    page.write_text("<p>words</p>")
    echo = 'for one in "$@"; do case $one in --screenshot=*) echo "$@" > "${one#*=}";; esac; done'
    screenshots.picture(str(program(tmp_path, echo)), page, image, (300, 200))
    asked = image.read_text()
    assert "--window-size=300,200" in asked
    assert asked.strip().endswith("a%20page.html")
    image.unlink()
    with pytest.raises(SystemExit, match="must write a picture of .*no display"):
        screenshots.picture(str(program(tmp_path, "echo no display >&2; exit 1")), page, image)
    assert not image.exists()
