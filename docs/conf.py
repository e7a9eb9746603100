"""Settings of the documentation: ``sphinx-build -W docs FOLDER`` makes the pages."""

import dldl_fast

project = "dldl_fast"
author = "dldl_fast developers"
copyright = "dldl_fast developers"
release = version = dldl_fast.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
]

# Pages.
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

# Docstrings: in Google's form, with these sections beside the usual ones. `name` is a reference
# where there is such an object, and code where there is none.
napoleon_custom_sections = [("Shape", "notes_style"), ("Source", "notes_style"), "Numerics"]
napoleon_numpy_docstring = False
napoleon_use_ivar = True  # or fields of data classes are described twice
default_role = "py:obj"
autodoc_member_order = "bysource"
autodoc_default_options = {
    "exclude-members": "extra_repr, architecture, get_extra_state, set_extra_state"
}
strip_signature_backslash = True  # or the argument lambda_ loses its last character
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
python_use_unqualified_type_names = True

html_theme = "furo"
html_title = f"dldl_fast {version}"
html_show_sphinx = False
pygments_style = "friendly"

# Of a console block the commands are copied, without their prompt.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
