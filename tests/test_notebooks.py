"""The notebook builder on small sources, and the committed notebooks against their sources."""

import asyncio
import time
from types import SimpleNamespace

import nbformat
import pytest
import zmq.asyncio

from notebooks.tools import build as builder
from notebooks.tools.client import Client

SOURCE = '''# %% [markdown]
# # A notebook
# With $x^2$ and a second line.

# %%
import os, sys
print("first", os.environ["OMP_WAIT_POLICY"], os.path.basename(os.getcwd()))
print("noise", file=sys.stderr)

# %% tags=["raises-exception"]
raise ValueError("on purpose")

# %%
print("10 %\\r50 %\\r100 %")
print(os.getcwd() + "/data.txt")
object()

# %%
import ipywidgets
ipywidgets.interact(lambda x: print("moved to", x), x=(0, 2));

# %% [markdown]
# The same words.

# %% [markdown]
# The same words.
'''


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "notebooks" / "source").mkdir(parents=True)
    return tmp_path / "notebooks"


def put(folder, text, name="00_first"):
    (folder / "source" / f"{name}.py").write_text(text, encoding="utf-8")


def outputs(folder, name="00_first"):
    cells = nbformat.read(folder / f"{name}.ipynb", as_version=4).cells
    return [cell.outputs for cell in cells if cell.cell_type == "code"]


def test_an_empty_folder_is_valid(folder):
    assert builder.build(folder) == 0
    assert builder.check(folder) == []


def test_ids_depend_on_the_cells_only_and_are_unique(folder):
    put(folder, SOURCE)
    before = [cell.id for cell in builder.read_source(folder / "source" / "00_first.py").cells]
    assert len(set(before)) == len(before) == 7
    put(folder, "# %%\nnew = 1\n\n" + SOURCE)
    after = [cell.id for cell in builder.read_source(folder / "source" / "00_first.py").cells]
    assert after[1:] == before  # a new first cell changes no other id


def test_a_carriage_return_restarts_a_line():
    assert builder.terminal_text("a\n10 %\r100 %\nb\r\n") == "a\n100 %\nb\n"


def test_only_local_paths_and_memory_addresses_are_hidden(tmp_path):
    text = f"{tmp_path}/data/a.mp4 <object at 0x7f0123456789> 0x1f 1/2"
    hidden = builder.hide_paths(text, tmp_path / "notebooks")
    assert hidden == "./data/a.mp4 <object at 0x...> 0x1f 1/2"
    assert builder.hide_paths(f"{tmp_path}-other", tmp_path / "notebooks").endswith("-other")


def test_widgets_and_standard_error_are_dropped_and_text_is_joined(tmp_path):
    made = [nbformat.v4.new_output("stream", name="stdout", text="one "),
            nbformat.v4.new_output("stream", name="stderr", text="100%|####|"),
            nbformat.v4.new_output("stream", name="stdout", text="two"),
            nbformat.v4.new_output("display_data",
                                   data={builder.WIDGET: {}, "text/plain": "IntSlider()"}),
            nbformat.v4.new_output("display_data", data={"text/plain": "kept"})]
    kept = builder.clean_outputs(made, tmp_path)
    assert [output.get("text") or output.data["text/plain"] for output in kept] == ["one two",
                                                                                    "kept"]


@pytest.mark.parametrize("woken", [False, True])
def test_a_reply_whose_notification_was_lost_is_found(woken):
    async def wait() -> int:
        with zmq.asyncio.Context() as context, context.socket(zmq.DEALER) as client, \
                zmq.Context.instance().socket(zmq.DEALER) as kernel:
            client.connect(f"tcp://127.0.0.1:{kernel.bind_to_random_port('tcp://127.0.0.1')}")
            reply = asyncio.ensure_future(client.poll(None))
            await asyncio.sleep(0.2)  # the client waits
            kernel.send(b"reply")
            time.sleep(0.2)
            zmq.Socket.shadow(client.underlying).get(zmq.EVENTS)  # as jupyter_client sends
            notebook = Client(nbformat.v4.new_notebook())
            notebook.kc = SimpleNamespace(shell_channel=SimpleNamespace(socket=client))
            waking = asyncio.create_task(notebook.wake() if woken else asyncio.sleep(0))
            try:
                return await asyncio.wait_for(reply, 3)
            except TimeoutError:
                return 0
            finally:
                waking.cancel()

    assert asyncio.run(wait()) == (zmq.POLLIN if woken else 0)


@pytest.mark.slow
def test_building_twice_gives_the_same_bytes_and_check_passes(folder):
    put(folder, SOURCE)
    assert builder.build(folder) == 0
    first = (folder / "00_first.ipynb").read_bytes()
    assert builder.build(folder) == 0
    assert (folder / "00_first.ipynb").read_bytes() == first
    assert builder.check(folder) == []
    printed, error, last, widget = outputs(folder)
    assert [output.text for output in printed] == ["first PASSIVE notebooks\n"]
    assert error[0].ename == "ValueError"
    assert last[0].text == "100 %\n./notebooks/data.txt\n"
    assert last[1].data["text/plain"] == "<object at 0x...>"
    assert widget == []  # a slider needs a kernel; its output belongs to it
    assert [path.name for path in folder.iterdir() if path.is_file()] == ["00_first.ipynb"]


@pytest.mark.slow
def test_the_old_notebook_is_kept_where_a_cell_fails(folder, capsys):
    put(folder, "# %%\n1 + 1\n")
    assert builder.main(["build", "--folder", str(folder)]) == 0
    before = (folder / "00_first.ipynb").read_bytes()
    put(folder, "# %%\n1 / 0\n")
    assert builder.main(["build", "--folder", str(folder)]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().err
    assert (folder / "00_first.ipynb").read_bytes() == before


@pytest.mark.slow
def test_memory_is_that_of_the_kernel_and_not_of_its_parent(folder):
    put(folder, "# %%\nimport subprocess, sys\nkept = b'1' * 2 * "
                "10**8\nsubprocess.run([sys.executable, '-c', '1'], check=True);\n")
    held = b"1" * 10**9
    run = builder.execute(builder.read_source(folder / "source" / "00_first.py"), folder)
    assert len(held) == 10**9 and 0.2 < run.gigabytes < 0.7


def written(folder):
    """A notebook as `build` would write it, made without a kernel."""
    put(folder, "# %% [markdown]\n# Words\n\n# %%\n1 + 1\n\n# %%\n2 + 2\n")
    notebook = builder.read_source(folder / "source" / "00_first.py")
    for count, cell in enumerate(notebook.cells[1:], 1):
        cell.execution_count = count
    return notebook


def change_words(notebook):
    notebook.cells[0].source = "Other words"


def change_count(notebook):
    notebook.cells[2].execution_count = None


def change_order(notebook):
    notebook.cells.reverse()


def change_outputs(notebook):
    notebook.cells[1].outputs = [nbformat.v4.new_output("error", ename="KeyError", evalue="x",
                                                        traceback=[])]


def change_metadata(notebook):
    notebook.metadata["jupytext"] = {"formats": "ipynb,py:percent"}


@pytest.mark.parametrize("change, complaint", [
    (None, None), (change_words, "edited without its source"), (change_count, "not executed"),
    (change_order, "differs from its source"), (change_outputs, "KeyError"), (change_metadata,
                                                                              "metadata"),
])
def test_check_names_each_fault(folder, change, complaint):
    notebook = written(folder)
    if change:
        change(notebook)
    builder.write(notebook, folder / "00_first.ipynb")
    complaints = builder.check(folder)
    assert complaints == [] if change is None else any(complaint in line for line in complaints)


@pytest.mark.parametrize("change", [lambda cells: cells.pop(), lambda cells: cells.reverse()])
def test_a_run_with_other_cells_than_the_committed_notebook_says_so(folder, change):
    put(folder, SOURCE)
    run, kept = (builder.read_source(folder / "source" / "00_first.py") for _ in range(2))
    assert builder.differences(run, kept) == []
    change(kept.cells)
    assert "other cells" in builder.differences(run, kept)[0]


def test_check_finds_missing_sources_and_missing_notebooks(folder):
    builder.write(written(folder), folder / "01_orphan.ipynb")
    assert [line.split(":")[0] for line in builder.check(folder)] == ["01_orphan.ipynb",
                                                                      "00_first.ipynb"]


def test_only_must_match_a_source(folder):
    with pytest.raises(FileNotFoundError, match="77"):
        builder.build(folder, only="77")


def test_committed_notebooks_agree_with_their_sources():
    assert builder.check() == []
