# SPDX-License-Identifier: MIT OR Apache-2.0
# The manual pages and the documents beside README.md.

STAGES += check-man check-docs

.PHONY: check-man check-docs site pictures man-links

check-man: prefix ## Manual pages: well formed, complete, examples compiled and run
	@sh scripts/check-man.sh

check-docs: ## Links of the documents lead somewhere; README.md is short; the pictures are current
	@sh scripts/check-docs.sh

site: ## docs/ as a book, by mdbook, in target/site
	@sh scripts/site.sh

pictures: ## Draw docs/*.svg anew
	@sh scripts/pictures.sh write

man-links: ## Pages for the other names of pages
	@sh scripts/man-links.sh write
