# SPDX-License-Identifier: MIT OR Apache-2.0
# The manual pages and the documents beside README.md.

MANDIR ?= $(PREFIX)/share/man
export MANDIR

STAGES += check-man check-docs

.PHONY: check-man check-docs pictures

check-man: prefix ## Manual pages: well formed, complete, examples compiled and run
	@sh scripts/check-man.sh

check-docs: ## Links of the documents lead somewhere; the pictures are current
	@sh scripts/check-docs.sh

pictures: ## Draw docs/*.svg anew
	@sh scripts/pictures.sh write
