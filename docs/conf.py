"""Sphinx configuration: `make docs` builds the site into build/docs, and every warning is an error."""

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "mupwd"
author = "the mupwd authors"
project_copyright = "the mupwd authors, Apache-2.0"
version = release = version_of("mupwd")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "sphinx_design",
    # docs/_ext:
    "code_links",
    "command_help",
    "docstring_markup",
    "mathml",
    "public_names",
    "source_pages",
]
exclude_patterns = ["_ext", "evidence/*", "performance/*"]
nitpicky = True

# Pages are Markdown that reads on GitHub too: its heading anchors, its tables, dollars around maths.
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 4
myst_links_external_new_tab = False

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
autosummary_generate = False
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_attr_annotations = False
napoleon_use_rtype = False
add_module_names = False
python_use_unqualified_type_names = True
# One parameter a line, as the code has it.
maximum_signature_line_length = 80

# Of the types in signatures only mupwd's own lead somewhere: inventories of other packages are on the network.
nitpick_ignore_regex = [("py:.*", r"(?!mupwd\.).*")]
# How a family builds its models: a field that only its own methods read.
nitpick_ignore = [("py:class", "mupwd.family.source.Source")]

html_theme = "sphinx_book_theme"
html_title = "mupwd"
html_static_path = ["_static"]
html_css_files = ["mupwd.css"]
html_favicon = "_static/favicon.svg"
html_context = {"default_mode": "auto"}
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "show_toc_level": 2,
    "use_download_button": False,
    "use_fullscreen_button": False,
    "navigation_with_keys": False,
    # The sidebar has the search already.
    "navbar_persistent": [],
    "secondary_sidebar_items": {"**": ["page-toc"], "index": []},
}
# Copied without the prompts, and without what was printed.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
