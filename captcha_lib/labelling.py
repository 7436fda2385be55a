"""`label`: a page that shows what a reader is least sure of and takes a person's text for it, from which it learns.

Uncertainty sampling: Lewis and Gale, SIGIR 1994. What the person types is in `labels.csv` beside the pictures at once,
where `train` finds it.
"""

import unicodedata
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from captcha_lib.adapting import Adapted, adapt, find_kind
from captcha_lib.config import InputError, missing_extra
from captcha_lib.decode import Length
from captcha_lib.files import write_csv
from captcha_lib.reading.predict import image_files, load_pictures
from captcha_lib.reading.torch_reader import TorchReader
from captcha_lib.training import silent

TABLE, COLUMNS = "labels.csv", ["file", "label"]


class Labelling:
    """Pictures of one kind, the texts that a person gave some of them, and a reader that learns from these.

    Raises InputError for pictures that cannot be read, or a `labels.csv` of another form.

    Attributes:
        files: names of the pictures, as in `labels.csv`.
        texts: the labels that were given, by number of the picture.
        adapted: what became of the reader.
    """

    def __init__(
        self, folder: Path, start: TorchReader, alphabet: str | None = None, length: Length | None = None
    ) -> None:
        found = image_files([folder])
        self.folder, self.alphabet, self.length = folder, alphabet, length
        self.files = [file.path.relative_to(folder).as_posix() for file in found]
        self.images = load_pictures(found, start)
        self.texts = self._known()
        self.skipped: set[int] = set()
        self.adapted = Adapted(start, find_kind(start, self.images, alphabet, length, self.texts))
        self.readings = self.adapted.read(self.images)

    def next(self) -> int | None:
        """The picture that the reader is least sure of, among those that nobody labelled or skipped."""
        left = [i for i in range(len(self.files)) if i not in self.texts and i not in self.skipped]
        return min(left, key=lambda i: self.readings[i].confidence, default=None)

    def give(self, i: int, text: str) -> None:
        """Takes a person's text for a picture; raises InputError for one that cannot be right."""
        text = unicodedata.normalize("NFC", text.strip())
        if not text:
            raise InputError("the text is empty; type what the picture shows, or skip it")
        if self.alphabet and (unknown := sorted(set(text) - set(self.alphabet))):
            raise InputError(f"{unknown[0]!r} is not in the alphabet {self.alphabet!r}; correct the text")
        least, most = self.length if isinstance(self.length, tuple) else (self.length or 1, self.length or len(text))
        if not least <= len(text) <= most:
            raise InputError(f"{text!r} has {len(text)} characters, and {self.length} are expected; correct the text")
        self.texts[i] = text
        rows = [(self.files[i], text) for i, text in sorted(self.texts.items())]
        write_csv(self.folder / TABLE, pd.DataFrame(rows, columns=COLUMNS))

    def learn(self, seed: int = 0, report: Callable[[str], None] = silent) -> None:
        """Teaches the reader what was labelled, and lets it teach itself the rest."""
        self.adapted = adapt(self.images, self.adapted, self.alphabet, self.length, self.texts, seed, report)
        self.readings = self.adapted.read(self.images)

    def _known(self) -> dict[int, str]:
        """The labels that lie beside the pictures already."""
        path = self.folder / TABLE
        if not path.exists():
            return {}
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        if [*table.columns] != COLUMNS:
            raise InputError(f"{path}: its columns are not {','.join(COLUMNS)}; move it away, or correct it")
        numbers = {name: i for i, name in enumerate(self.files)}
        return {numbers[row.file]: row.label for row in table.itertuples() if row.file in numbers}


def build_page(labelling: Labelling, out: Path):
    """The page, not yet served; raises InputError if the extra `demo` is not installed."""
    try:
        import gradio
    except ImportError:
        raise missing_extra("gradio") from None

    def shown(typed: str = "", error: str = "") -> tuple:
        """The next picture, what was typed for it, and where things stand."""
        i, done = labelling.next(), len(labelling.texts)
        said = f"{done} of {len(labelling.files)} pictures are labelled. {labelling.adapted.belief.capitalize()}."
        if i is None:
            return None, None, "", f"All are labelled or skipped. {said}"
        read = labelling.readings[i]
        guess = f"It takes this one for `{read.text or ' '}` ({read.confidence:.0%})."
        return i, str(labelling.folder / labelling.files[i]), typed, f"**{error}**" if error else f"{said} {guess}"

    def answer(i: int | None, text: str) -> tuple:
        try:
            if i is not None:
                labelling.give(i, text)
        except InputError as error:
            return shown(text, str(error))
        return shown()

    def skip(i: int | None) -> tuple:
        labelling.skipped |= set() if i is None else {i}
        return shown()

    def learn() -> tuple:
        try:
            labelling.learn(report=gradio.Info)
            labelling.adapted.reader.save(out / "weight.pth")
        except InputError as error:
            return shown("", str(error))
        return shown()

    with gradio.Blocks(title="captcha_lib: label", analytics_enabled=False) as page:
        gradio.Markdown(
            f"# Label\n\nThe pictures of `{labelling.folder}`, those first that the reader is least sure of."
        )
        number, picture = gradio.State(), gradio.Image(label="picture", interactive=False, height=160)
        text = gradio.Textbox(label="its text (Enter for the next one)", autofocus=True)
        with gradio.Row():
            skipping, learning = gradio.Button("Skip"), gradio.Button("Learn", variant="primary")
        said = gradio.Markdown()
        outputs = [number, picture, text, said]
        page.load(lambda: shown(), None, outputs)
        text.submit(answer, [number, text], outputs)
        skipping.click(skip, number, outputs)
        learning.click(learn, None, outputs)
    return page
