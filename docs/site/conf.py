"""Sphinx's settings of the website: `make site`. docs/tools/site.py collects the pages."""

from pathlib import Path

project = "favor-mini"
author = "favor-mini contributors"
copyright = "favor-mini contributors, Apache-2.0"
extensions = ["myst_nb", "sphinx.ext.mathjax"]
exclude_patterns = ["README.md"]  # index.md includes it
default_role = "py:obj"  # `names` in docstrings

nb_execution_mode = "off"  # the notebooks are executed already
nb_ipywidgets_js = {}  # nothing from another host
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 4
suppress_warnings = ["misc.highlighting_failure"]

mathjax_path = "tex-svg.js"  # one file, without fonts; make puts it into build/mathjax
mathjax3_config = {"options": {"enableMenu": False}}

html_title = "favor-mini"
html_theme = "sphinx_book_theme"
html_static_path = ["static", "../../build/mathjax"]
html_css_files = ["site.css"]
html_copy_source = False
html_context = {"default_mode": "auto"}  # light or dark, as the browser wishes
html_theme_options = {
    "use_download_button": False,
    "use_fullscreen_button": False,
    "navbar_persistent": [],  # one search field is enough
    "show_toc_level": 2,
    "home_page_in_toc": True,
}

locale_dirs = [str(Path(__file__).parent / "locale")]
gettext_compact = False
