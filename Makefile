.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help install run test quick lint format lock bench faults fuzz soak builtin-elmo elmo-trials recipe-trials \
  scenario-trials attack-trials default-model clean

help:  ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

install: $(VENV)/.installed  ## make .venv with spamcli and what its tests need

$(VENV)/.installed: setup.cfg pyproject.toml requirements.lock
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@

run: install  ## download (or find) the data, train, evaluate, predict
	$(BIN)/spamcli download
	$(BIN)/spamcli train
	$(BIN)/spamcli evaluate
	$(BIN)/spamcli predict "Ok, see you at the station at six" "URGENT! You have WON a guaranteed £1000 prize. Call 09061 700 000 now to claim, 150p per min"

test: install  ## every test
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile

quick: install  ## the tests that take under two minutes together
	$(BIN)/python -m pytest -m "not slow"

lint: install  ## style and mistakes
	$(BIN)/ruff check spamcli tests
	$(BIN)/ruff format --check spamcli tests

format: install  ## format the code
	$(BIN)/ruff check --fix spamcli tests
	$(BIN)/ruff format spamcli tests

lock:  ## choose anew what install takes, with its hashes, and look for known holes in it
	test -x work/lock/bin/python || $(PYTHON) -m venv work/lock
	work/lock/bin/python -m pip install --quiet --upgrade uv pip-audit
	work/lock/bin/uv pip compile setup.cfg --extra test --universal --python-version 3.10 --generate-hashes --upgrade --quiet \
	  --no-annotate --custom-compile-command "make lock" --output-file requirements.lock > /dev/null
	work/lock/bin/pip-audit --requirement requirements.lock --no-deps --disable-pip

bench: install  ## measure what the README quotes; needs an idle machine
	$(BIN)/python tests/bench.py

faults: install  ## kill or starve each verb at each of its writes (hours; goes on where it stopped; needs strace)
	$(BIN)/python tests/faults.py

MODEL ?= spamcli/assets/classifier
fuzz: install  ## look for hostile messages and files, guided by coverage (two minutes)
	mkdir -p work/fuzz/messages work/fuzz/files
	$(BIN)/python tests/fuzz.py messages $(MODEL) -max_total_time=60 work/fuzz/messages tests/fuzz/messages
	$(BIN)/python tests/fuzz.py files $(MODEL) -max_total_time=60 work/fuzz/files tests/fuzz/files

soak: install  ## two million messages through one process, twice, and eight at once (two hours; MODEL in float32)
	$(BIN)/python tests/soak.py $(MODEL)

# A file that is named twice is read twice as often. The text is not part of this project; docs/builtin-elmo.md names it.
CORPUS = tweets spamassassin_spam spamassassin_spam spamassassin_ham masc webtext switchboard product_reviews pros_cons abc \
  subjectivity sentence_polarity
INVENTED = spamcli/assets/messages
TOKENS = 30000000

work/invented.txt: $(INVENTED)/training.csv
	mkdir -p work
	$(BIN)/python -c 'import pandas; [print(" ".join(text.split())) for text in pandas.read_csv("$<")["text"]]' > $@

builtin-elmo: install work/invented.txt  ## pretrain the built-in ELMo on, from CORPORA=folder (hours; goes on where it stopped)
	test -d "$(CORPORA)"
	$(BIN)/spamcli pretrain $(patsubst %,$(CORPORA)/%.txt.gz,$(CORPUS)) work/invented.txt work/invented.txt -o work/elmo \
	  --init builtin --tokens $(TOKENS) --seed 1 --resume --exclude data/spam.csv --exclude $(INVENTED)/measuring.csv \
	  --about docs/builtin-elmo-text.md
	rm -rf spamcli/assets/elmo && mv work/elmo spamcli/assets/elmo

elmo-trials: install  ## compare MODULES='DIR DIR...', with other people's text in CORPORA=folder
	$(BIN)/python tests/elmo_trials.py "$(CORPORA)" $(MODULES)

recipe-trials: install  ## choose among variations of the default recipe inside each fold
	$(BIN)/python tests/recipe_trials.py

scenario-trials: install  ## the classifier inside the package on scenarios that it has not learned from
	$(BIN)/python tests/scenario_trials.py

attack-trials: install  ## whether learning from attacked copies of messages pays
	$(BIN)/python tests/attack_trials.py

# By scenario-trials: less than 2 % of the ham of scenarios that it has not learned from is blocked then.
BUDGET = 0.015

default-model: install  ## train the classifier inside the package again
	rm -rf work/classifier
	$(BIN)/spamcli train --also invented --max-ham-blocked $(BUDGET) --model work/classifier
	rm -rf spamcli/assets/classifier && mv work/classifier spamcli/assets/classifier

clean:  ## remove what was made, but not the data
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis model
