import importlib.util
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"


def test_the_table_of_parameters_is_that_of_the_code():
    path = DOCS / "make_phantom_figures.py"
    spec = importlib.util.spec_from_file_location("make_phantom_figures", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    page = (DOCS / "phantom.md").read_text()
    assert script.page_with_table(page) == page
    assert page.count("| `") == len(vars(script.Population()))
    for name in ("cuts", "clips", "patients"):
        picture = DOCS / f"phantom_{name}.png"
        assert f"({picture.name})" in page
        assert 10_000 < picture.stat().st_size < 300_000
