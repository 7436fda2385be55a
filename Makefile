# The commands of the README. DATA is generated (the default), kaggle, or the path of a folder or zip.
PYTHON ?= python3
DATA ?= $(or $(CAPTCHA_DATA),generated)
BIN = .venv/bin
INSTALLED = .venv/.installed
PEERS = .venv-peers/bin
CORE = notebooks/0[1-5]*.ipynb
SOLUTIONS = notebooks/solutions/*.ipynb
STUDIES = notebooks/0[6-9]*.ipynb notebooks/1*.ipynb
# goes on from what notebook 09 leaves
AFTER = notebooks/10_how_many_labels.ipynb
OUT = output/run
REFERENCE = output/reference
WEIGHTS ?= kaggle
DEVICE ?= cpu
WORKERS ?= 1
EXECUTE = $(BIN)/python notebooks/execute.py
STUDY = $(BIN)/python -m studies
# The cache would lie in the checkout, which need not be writable.
PYTEST = $(BIN)/pytest -p no:cacheprovider
# Draws the generated captchas, if these are meant, before several processes ask for them.
DRAW = @$(BIN)/captcha-lib split --out "$(OUT)/drawn_split.csv"
# A process for each of two cores, with one thread: two threads beside another process are slower than one.
PYTEST_2 = OMP_NUM_THREADS=1 $(PYTEST) --numprocesses 2 --dist loadfile
# Paths are meant from here, but the notebooks run in their own folder. (make's own abspath splits them at spaces.)
ABSOLUTE = $(PYTHON) -c 'import os, sys; print(os.path.abspath(sys.argv[1]))'
# Threads that wait sleep soon, see captcha_lib/commands/main.py; notebooks and tests, too.
export GOMP_SPINCOUNT ?= 1000
export CAPTCHA_OUT := $(shell $(ABSOLUTE) "$(OUT)")
export CAPTCHA_DATA := $(shell if [ -e "$(DATA)" ]; then $(ABSOLUTE) "$(DATA)"; else echo "$(DATA)"; fi)

.PHONY: help run test test-studies test-browser test-docker lab demo notebooks bench crossval sweep ablate architectures zero labels protect \
	peers bench-train bench-read bench-stream bench-own bench-real bench-same general first-sight adapt reference evidence evidence-check book wheel licences audit clean

help:
	@echo "make run    run the notebooks top to bottom; pages in $(OUT)"
	@echo "make test   ruff, unit tests, notebooks against their stored outputs"
	@echo "make lab    open the notebooks in JupyterLab"
	@echo "make demo   a page that reads the images you give it"
	@echo "make test-studies  the study notebooks, 06 and up, against their stored outputs"
	@echo "make test-browser  notebooks 01 to 05 in JupyterLab and a browser; pictures in $(OUT)/browser"
	@echo "make test-docker   the Dockerfile's steps in a fresh folder; installs everything again"
	@echo "make bench  train with ten seeds and tabulate them"
	@echo "make crossval     read every image with networks that have not seen it: 10 folds, 3 seeds"
	@echo "make sweep        search hyperparameters on validation folds; run it several times at once if you like"
	@echo "make zero         read all images with networks that never saw a label of theirs: 5 seeds"
	@echo "make labels       exact match against the number of labels, after make zero"
	@echo "make protect      the generator's knobs alone and in pairs, a reader trained for each setting"
	@echo "make ablate       what each part of the recipe is worth: ten seeds, 100 and 800 labels"
	@echo "make architectures  other networks on the same ten folds"
	@echo "make bench-train  seconds until 98 % of the test are read: ten seeds, two threads and one"
	@echo "make bench-read   this reader beside others: speed, size, memory, accuracy"
	@echo "make bench-stream training on a million captchas drawn as they are needed; one process and two"
	@echo "make bench-own    sets that the project was not made for, beside ddddocr"
	@echo "make bench-real   real sets learnt from few labels and from all; DATA=folder, that of the sets"
	@echo "make bench-same   the same seeds with other threads and precision"
	@echo "make licences     list what the project depends on, and under which licences"
	@echo "make audit        ask PyPI for known vulnerabilities of the locked versions"
	@echo "make general      learn the weights that read at first sight: hours; DEVICE=cuda WORKERS=15: ten minutes"
	@echo "make first-sight  what readers read of sets that they never saw: SETS=\"folder folder\""
	@echo "make adapt        what a reader teaches itself of sets without labels: SETS=\"folder folder\""
	@echo "make book         the documentation as a static site, in $(OUT)/book"
	@echo "make wheel        a wheel of the library with its weights, in $(OUT)/dist"
	@echo "make evidence-check  list the figures that come from older code"
	@echo "make run DATA=kaggle, make run DATA=path/to/images: other captchas than the generated ones"

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $(PYTHON) is older than Python 3.11; give another one: make PYTHON=python3.12"; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet -c constraints.txt -e '.[dev]'
	@touch $(INSTALLED)

run: $(INSTALLED)
	$(DRAW)
	$(EXECUTE) --out "$(OUT)" $(CORE)
	$(BIN)/jupyter nbconvert --log-level ERROR --to html --output-dir "$(OUT)" "$(OUT)"/0[1-5]*.ipynb
	@echo "pages: $(OUT)/*.html"
	@tail -n 1 "$(OUT)/log.txt"

test: export CAPTCHA_DATA = generated
test: $(INSTALLED)
	$(BIN)/ruff check --no-cache .
	$(BIN)/ruff format --no-cache --check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy --cache-dir /dev/null
	$(MAKE) book
	if [ -x $(BIN)/hadolint ]; then $(BIN)/hadolint Dockerfile; fi
	$(DRAW)
	$(PYTEST_2) tests
	$(PYTEST) --nbval $(CORE)

# Notebooks 01 to 05 in JupyterLab, by its menu, in a Chromium that is installed already. Pictures of them in browser/.
test-browser: $(INSTALLED)
	$(PYTEST) tests/browser

# The documentation: the pages of docs/ and the notebooks as they are stored, as a static site.
book: $(INSTALLED)
	$(BIN)/python docs/tables.py --check
	$(BIN)/sphinx-build -E -W --keep-going -q -b html docs "$(OUT)/book"
	@echo "book: $(OUT)/book/index.html"

# Which figures come from older code.
evidence-check: $(INSTALLED)
	$(STUDY) evidence-check

# A wheel, which holds the library with its weights.
wheel: $(INSTALLED)
	$(BIN)/python -m build --wheel --outdir "$(OUT)/dist"

# The Dockerfile's steps, without Docker, in a fresh folder: three minutes and 7 GB.
test-docker: $(INSTALLED)
	$(PYTEST) tests/docker

# The study notebooks run on a smaller grid than the figures that they quote; each says which.
test-studies: export CAPTCHA_DATA = generated
test-studies: $(INSTALLED)
	$(DRAW)
	$(PYTEST_2) --nbval $(filter-out $(AFTER),$(wildcard $(STUDIES))) $(SOLUTIONS)
	$(PYTEST) --nbval $(AFTER)

lab: $(INSTALLED)
	$(BIN)/jupyter lab notebooks

# A page that reads uploaded images: http://127.0.0.1:7860. WEIGHTS=output/run/weight.pth takes those of your last run.
demo: $(INSTALLED)
	$(BIN)/python examples/demo.py --weights "$(WEIGHTS)"

# Runs the notebooks and stores their outputs in them. Only with the generated captchas: other images stay out.
notebooks: export CAPTCHA_DATA = generated
notebooks: $(INSTALLED)
	$(EXECUTE) --in-place $(CORE) $(SOLUTIONS) $(STUDIES)

bench: $(INSTALLED)
	$(STUDY) bench --seeds 10 --out "$(OUT)/bench"

# The whole data set out of fold, alone and with generated captchas added: half an hour on two cores. Goes on where it
# was stopped.
crossval: $(INSTALLED)
	$(STUDY) crossval --folds 10 --seeds 3 --generated 1000 --out "$(OUT)/crossval"

sweep: $(INSTALLED)
	$(STUDY) sweep --out "$(OUT)/sweep.log"

# Both go on where they were stopped. On two cores two hours, and three.
ablate: $(INSTALLED)
	$(STUDY) ablate --out "$(OUT)/ablate"

architectures: $(INSTALLED)
	$(STUDY) architectures --out "$(OUT)/architectures"

# Each goes on where it was stopped. On two cores 25, 20 and 40 minutes.
zero: $(INSTALLED)
	$(STUDY) zero --out "$(OUT)/zero"

labels: $(INSTALLED)
	$(STUDY) labels --zero "$(OUT)/zero" --out "$(OUT)/labels"

protect: $(INSTALLED)
	$(STUDY) protect --out "$(OUT)/protect"

bench-train: $(INSTALLED)
	$(BIN)/python -m studies.benchmarks.train --out "$(OUT)"

# The other readers, in an environment of their own. tesseract is measured too where it is installed.
peers: $(PEERS)/.installed
$(PEERS)/.installed: studies/benchmarks/peers.txt
	$(PYTHON) -m venv .venv-peers
	$(PEERS)/pip install --quiet -r studies/benchmarks/peers.txt
	@touch $@

bench-read: $(INSTALLED) $(PEERS)/.installed
	$(BIN)/python -m studies.benchmarks.read --crossval "$(OUT)/crossval" $(REFERENCE) --out "$(OUT)"

bench-stream: $(INSTALLED)
	$(BIN)/python -m studies.benchmarks.stream --out "$(OUT)/bench-stream"

# Sets that the project was not made for, beside ddddocr: about an hour on two cores.
bench-own: $(INSTALLED) $(PEERS)/.installed
	$(BIN)/python -m studies.benchmarks.own --out "$(OUT)/bench-own"

# The same seeds with one thread and two, with and without bfloat16: about eight minutes on two cores.
bench-same: $(INSTALLED)
	$(BIN)/python -m studies.benchmarks.same --out "$(OUT)"

# The weights that read at first sight: ten minutes on an H100 where 15 processors draw for it, hours on two cores. It
# goes on where it was stopped.
general: $(INSTALLED)
	$(STUDY) pretrain --device "$(DEVICE)" --workers "$(WORKERS)" --threads 1 --resume --out "$(OUT)/general.pth"
	$(BIN)/captcha-lib export --weights "$(OUT)/general.pth" --out "$(OUT)/general.onnx"

# Folders of labelled images, such as SETS="kind/labelled other/labelled"; nothing is learnt from their labels.
first-sight: $(INSTALLED) $(PEERS)/.installed
	$(BIN)/python -m studies.benchmarks.first_sight $(SETS) --out "$(OUT)/first-sight"

adapt: $(INSTALLED)
	$(STUDY) self-taught $(SETS) --out "$(OUT)/adapt"

# The folder of the sets holds kind/labelled, and kind/fresh where there are others to read; see data/README.md.
bench-real: $(INSTALLED)
	$(STUDY) real "$(DATA)" --out "$(OUT)/real"

# The runs on the official split and the generated captchas: about ten minutes. Give DATA=kaggle or the folder of its
# images. The weights go into the package.
reference: $(INSTALLED)
	@[ "$(DATA)" != generated ] || { echo "error: the reference run is on the Kaggle images; give DATA=kaggle or their folder"; exit 2; }
	$(BIN)/captcha-lib train --split official --resume --out "$(OUT)/reference"
	cp "$(OUT)/reference/weight.pth" captcha_lib/weights/kaggle.pth
	$(BIN)/captcha-lib export --weights captcha_lib/weights/kaggle.pth --out captcha_lib/weights/kaggle.onnx
	$(STUDY) bench --seeds 10 --out "$(OUT)/official"
	$(STUDY) bench --seeds 5 --own-splits --out "$(OUT)/own-splits"
	$(STUDY) bench --seeds 5 --data generated --out "$(OUT)/generated"
	$(BIN)/captcha-lib evaluate --data generated --subset all --weights kaggle --out "$(OUT)/reference/generated_predictions.csv"
	cp "$(OUT)/official/seeds.csv" "$(OUT)/reference/seeds.csv"
	cp "$(OUT)/own-splits/seeds.csv" "$(OUT)/reference/seeds_own_splits.csv"
	cp "$(OUT)/generated/seeds.csv" "$(OUT)/reference/seeds_generated.csv"
	$(STUDY) record --by "captcha-lib train --split official" \
		$(addprefix "$(OUT)/reference"/,log.txt loss.png metrics.json predictions.csv environment.json)
	$(STUDY) record --by "captcha-lib evaluate --data generated --subset all" "$(OUT)/reference/generated_predictions.csv"
	$(STUDY) record --by "python -m studies bench --seeds 10" "$(OUT)/reference/seeds.csv"
	$(STUDY) record --by "python -m studies bench --seeds 5 --own-splits" "$(OUT)/reference/seeds_own_splits.csv"
	$(STUDY) record --by "python -m studies bench --seeds 5 --data generated" "$(OUT)/reference/seeds_generated.csv"

# All of output/reference/: about five hours on two idle cores. Each study continues where it was stopped; what other
# code made is made again. One file no command can make: label_judge.csv, the choices of a judge who saw the first
# pictures of the audit and not which text was the label.
evidence: reference crossval zero labels protect bench-train bench-read bench-stream bench-same general bench-own
	$(STUDY) audit --crossval "$(OUT)/crossval" --readers "$(OUT)/readers.csv" \
		--judge $(REFERENCE)/label_judge.csv --out "$(OUT)/label_audit.csv"
	$(STUDY) plant --out "$(OUT)/planted"
	$(MAKE) crossval # once more, with the audited labels; nothing is trained
	cp "$(OUT)/general.pth" "$(OUT)/general.onnx" captcha_lib/weights/
	$(STUDY) record --by "python -m studies crossval --folds 10 --seeds 3 --generated 1000" "$(OUT)"/crossval/*.json "$(OUT)"/crossval/*.csv "$(OUT)"/crossval/*.png
	$(STUDY) record --by "python -m studies audit" "$(OUT)/label_audit.csv"
	$(STUDY) record --by "python -m studies plant" "$(OUT)/planted/planted.csv"
	cp "$(OUT)/zero/seed-0-pure.pth" "$(OUT)/zero/zero_pure.pth"
	$(STUDY) record --by "python -m studies zero" "$(OUT)"/zero/zero_*
	$(STUDY) record --by "python -m studies labels" "$(OUT)"/labels/label_curve.*
	$(STUDY) record --by "python -m studies protect" "$(OUT)"/protect/what_protects.*
	$(STUDY) record --by "python -m studies.benchmarks.own" "$(OUT)"/bench-own/own.*
	$(STUDY) record --by "python -m studies.benchmarks.stream" "$(OUT)/bench-stream/stream.json" "$(OUT)/bench-stream/processes.csv"
	$(STUDY) record --by "python -m studies.benchmarks.same" "$(OUT)"/same.*
	$(STUDY) record --by "python -m studies.benchmarks.train" "$(OUT)"/bench_train.* "$(OUT)/time_to_accuracy.png"
	$(STUDY) record --by "python -m studies.benchmarks.read" "$(OUT)/bench_read.json" "$(OUT)/readers.csv" "$(OUT)/reading_speed.png"


# Lists the licences of what the project depends on, after constraints.txt has changed.
licences: $(INSTALLED)
	$(BIN)/python -m studies.benchmarks.licences

# Known vulnerabilities of the locked versions, asked of PyPI by pip-audit in an environment of its own. --strict: a
# version that the index knows nothing of fails, where pip-audit would call it sound.
audit:
	$(PYTHON) -m venv .venv-audit
	.venv-audit/bin/pip install --quiet pip-audit
	.venv-audit/bin/pip-audit --strict --requirement constraints.txt --no-deps --disable-pip

clean:
	rm -rf .venv .venv-peers .venv-audit output/run data/generated
