"""A notebook in JupyterLab in a browser: it runs, its widgets move, the console has no errors."""

import pytest

from notebooks.tools import walk


@pytest.mark.slow
@pytest.mark.skipif(bool(walk.why_not()), reason=walk.why_not())
def test_a_notebook_runs_and_its_widgets_move(tmp_path, capsys):
    assert walk.walk("08", tmp_path) == []
    assert "0 widgets" not in capsys.readouterr().out
    assert (tmp_path / "08" / "widget_0_moved.png").stat().st_size > 10_000


def test_a_missing_browser_is_reported(monkeypatch, capsys):
    monkeypatch.setattr(walk, "chromium", lambda: None)
    assert walk.main([]) == 2
    assert "Chromium" in capsys.readouterr().err or "Playwright" in walk.why_not()
