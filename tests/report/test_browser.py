"""The page in a real browser, where there is one."""

import re
import shutil
import subprocess

import pytest
from helpers.scores import make_scores, make_setting

from mupwd.report.page import page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_every_plot_is_drawn_without_an_error(tmp_path):
    scores = make_scores()
    text = page(scores, make_setting(scores))
    # Errors become visible in the document, which is all that the browser hands back.
    catcher = "<script>addEventListener('error', e => document.body.dataset.error = e.message)</script>"
    file = tmp_path / "page.html"
    file.write_text(text.replace("<body>", f"<body>{catcher}", 1), encoding="utf-8")
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", file.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=True)
    document = done.stdout
    assert "data-error" not in document
    assert len(re.findall(r'class="plot[^"]*js-plotly-plot', document)) == 4
    assert len(re.findall(r'aria-pressed="true"', document)) == 3
