"""The package as a whole: its public names, its size, the order of its modules, and what it needs to be installed."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import captcha_lib
from captcha_lib.config import CHECKOUT, InputError

PACKAGE = Path(captcha_lib.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
TRAINING_NEEDS = ("torch", "torchvision", "pandas", "scipy", "matplotlib", "tqdm", "filelock", "platformdirs", "jiwer")


def without(packages: tuple[str, ...], code: str, *words, cwd: Path | None = None) -> subprocess.CompletedProcess:
    """Runs code in a process where these packages are not installed."""
    hidden = f"import sys; sys.modules |= dict.fromkeys({packages!r}); "
    command = [sys.executable, "-c", hidden + code, *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


COMMAND = "from captcha_lib.commands.main import main; sys.exit(main(sys.argv[1:]))"


# Names


def named_by_the_stub() -> set[str]:
    tree = ast.parse((PACKAGE / "__init__.pyi").read_text(encoding="utf-8"))
    imported = {
        (str(node.module), alias.name)
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    }
    assert imported == {(f"captcha_lib.{home}", name) for name, home in captcha_lib._HOME_OF.items()}
    return {name for _, name in imported}


def test_the_stub_and_dir_name_what_there_is():
    assert named_by_the_stub() == set(captcha_lib.__all__) - {"__version__"}
    assert set(captcha_lib.__all__) <= set(dir(captcha_lib))


@pytest.mark.parametrize("name", captcha_lib.__all__)
def test_public_names_exist(name):
    thing = getattr(captcha_lib, name)
    assert thing.__module__.startswith("captcha_lib.") if name != "__version__" else thing.count(".") == 2


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="no attribute 'captcha'"):
        captcha_lib.captcha  # noqa: B018


def test_a_function_is_not_hidden_by_a_module():
    code = "import captcha_lib.run, captcha_lib.training, captcha_lib.reading.read, captcha_lib as c; "
    code += "from captcha_lib import read, train; assert callable(c.train) and c.train is train and c.read is read"
    subprocess.run([sys.executable, "-c", code], check=True)


# Sizes and order


def lines(files: list[Path]) -> int:
    return sum(len(file.read_text(encoding="utf-8").splitlines()) for file in files)


def test_the_library_is_small():
    core = [file for file in FILES if file.parent == PACKAGE]
    assert max(lines([file]) for file in FILES) <= 350
    assert lines(FILES) <= 6115  # 5,800 is the goal
    assert len([file for file in core if not file.stem.startswith("__")]) <= 14
    assert lines(core) <= 2600


def test_no_module_imports_one_further_up():
    """The order stands in pyproject.toml."""
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_every_module_has_its_place_in_the_order():
    contract = (CHECKOUT / "pyproject.toml").read_text(encoding="utf-8").partition("[tool.importlinter]")[2]
    rooms = {f"captcha_lib.{path.stem}" for path in PACKAGE.iterdir() if path.suffix == ".py" or path.is_dir()}
    rooms -= {"captcha_lib.__init__", "captcha_lib.__pycache__", "captcha_lib.weights"}
    assert [room for room in sorted(rooms) if room not in contract.replace('"', " ").replace("|", " ").split()] == []


# What is installed


def test_help_does_not_wait_for_what_training_needs():
    done = without((*TRAINING_NEEDS, "onnxruntime"), COMMAND, "--help")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("command", ["train", "evaluate", "generate", "split"])
def test_a_command_without_torch_says_how_to_install_it(command, tmp_path):
    done = without(("torch",), COMMAND, command, "--data" if command != "generate" else "--out", tmp_path / "x")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: torch is not installed; pip install 'captcha_lib[train]'\n"
    assert not list(tmp_path.iterdir())


def test_a_name_that_needs_torch_says_how_to_install_it():
    code = "import captcha_lib\ntry:\n    captcha_lib.train\nexcept captcha_lib.InputError as error:\n    print(error)"
    done = without(("torch",), "\n" + code)
    assert (done.stdout, done.stderr) == ("torch is not installed; pip install 'captcha_lib[train]'\n", "")


@pytest.mark.parametrize(("package", "extra"), [("kagglehub", "kaggle"), ("onnx", "export"), ("torch.nn", "train")])
def test_each_package_has_its_extra(package, extra):
    from captcha_lib.config import missing_extra

    error = missing_extra(package)
    assert isinstance(error, InputError)
    assert str(error) == f"{package} is not installed; pip install 'captcha_lib[{extra}]'"


def test_predict_needs_nothing_of_training(folder):
    image = min(folder.iterdir())
    for words in ([image], [image, "--csv"], [folder, "--json", "--length", 0]):
        done = without(TRAINING_NEEDS, COMMAND, "predict", *words)
        assert (done.returncode, done.stderr) == (0, "")
        assert image.stem in done.stdout.replace(str(folder), "")
    done = without(TRAINING_NEEDS, COMMAND, "predict", image, "--out", folder.parent / "read.txt")
    assert (done.returncode, done.stderr) == (0, "")


def test_reading_in_python_needs_nothing_of_training(folder):
    code = "from captcha_lib import Reader, read; reading = read(sys.argv[1], others=2); "
    code += "print(reading.text, Reader.from_pretrained().length)"
    image = min(folder.iterdir())
    done = without(TRAINING_NEEDS, code, image)
    assert (done.stdout, done.stderr) == (f"{image.stem} 5\n", "")


def test_outside_a_checkout_nothing_is_written_beside_the_package(tmp_path):
    """Fault 5: drawn data and results would have gone into site-packages."""
    site, work, cache = (tmp_path / name for name in ("site", "work", "cache"))
    shutil.copytree(PACKAGE, site / "captcha_lib", ignore=shutil.ignore_patterns("__pycache__"))
    work.mkdir()
    before = sorted(path for path in site.rglob("*"))
    environment = os.environ | {
        "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1", "XDG_CACHE_HOME": str(cache), "HOME": str(cache),
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip

    def start(*words: str) -> str:
        command = [sys.executable, "-m", "captcha_lib", *words]
        done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "the official one, generated" in start("split")
    assert len(list(cache.rglob("captcha_lib/generated/*.png"))) == 1070
    assert {path.relative_to(work).as_posix() for path in work.rglob("*")} == {"output", "output/drawn_split.csv"}
    start("generate", "--count", "12")
    start("train", "--data", "output/captchas", "--epochs", "1", "--threads", "1")
    assert (work / "output" / "weight.pth").exists()
    assert sorted(path for path in site.rglob("*")) == before
