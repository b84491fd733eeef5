from __future__ import annotations

from desktop_rlhf.gui.pages.start import recent_projects, remember_project


def test_that_the_projects_that_were_open_before_are_listed_with_the_data_that_they_belong_to(tmp_path, monkeypatch):
    places = {name: tmp_path / name for name in ("here", "there")}
    opened = {name: place / "projects" / "mine" for name, place in places.items()}
    for name, place in places.items():
        opened[name].mkdir(parents=True)
        monkeypatch.setenv("DESKTOP_RLHF_DATA", str(place))
        assert recent_projects() == []
        remember_project(opened[name])
    for name, place in places.items():
        monkeypatch.setenv("DESKTOP_RLHF_DATA", str(place))
        assert recent_projects() == [opened[name]]


def test_that_a_data_folder_that_is_not_there_yet_is_made_for_the_list(tmp_path, monkeypatch):
    monkeypatch.setenv("DESKTOP_RLHF_DATA", str(tmp_path / "not" / "yet"))
    remember_project(tmp_path)
    assert recent_projects() == [tmp_path]
