# Builds rt, installs it, packages it.
#
#   make             the program, its manual pages and completions, in target/dist
#   make install     puts them below PREFIX; needs neither cargo nor a compiler
#   make uninstall   takes away what install has put there, and nothing else
#   make deb         a Debian package, in target
#
# PREFIX, DESTDIR and the directories below can be given: make PREFIX=/usr install

PREFIX = /usr/local
DESTDIR =
bindir = $(PREFIX)/bin
man1dir = $(PREFIX)/share/man/man1
bashdir = $(PREFIX)/share/bash-completion/completions
zshdir = $(PREFIX)/share/zsh/site-functions
fishdir = $(PREFIX)/share/fish/vendor_completions.d

CARGO = cargo
TARGET = $(or $(CARGO_TARGET_DIR),target)
DIST = $(TARGET)/dist
# The pages bear the date of the sources.
export SOURCE_DATE_EPOCH ?= $(shell git log -1 --format=%ct 2>/dev/null || date +%s)
export RT_COMMIT ?= $(or $(shell git rev-parse HEAD 2>/dev/null),unknown)

.PHONY: all install uninstall deb package built

all:
	$(CARGO) build --release --locked
	install -D $(TARGET)/$$(rustc --print host-tuple)/release/rt $(DIST)/rt
	rm -rf $(DIST)/man $(DIST)/completions
	$(CARGO) run --quiet --locked --example pages -- $(DIST)

built:
	@test -x $(DIST)/rt || { echo 'nothing is built yet: run make first' >&2; exit 1; }

install: built
	install -D -m 755 -t $(DESTDIR)$(bindir) $(DIST)/rt
	install -D -m 644 -t $(DESTDIR)$(man1dir) $(DIST)/man/*.1
	install -D -m 644 -t $(DESTDIR)$(bashdir) $(DIST)/completions/bash/rt
	install -D -m 644 -t $(DESTDIR)$(zshdir) $(DIST)/completions/zsh/_rt
	install -D -m 644 -t $(DESTDIR)$(fishdir) $(DIST)/completions/fish/rt.fish

uninstall: built
	rm -f $(DESTDIR)$(bindir)/rt $(DESTDIR)$(bashdir)/rt
	rm -f $(DESTDIR)$(zshdir)/_rt $(DESTDIR)$(fishdir)/rt.fish
	cd $(DIST)/man && for page in *.1; do rm -f $(DESTDIR)$(man1dir)/$$page; done

# The version is that of the first line of debian/changelog.
NAME = rt-container-runtime
VERSION = $(shell sed -n '1s/.*(\(.*\)).*/\1/p' debian/changelog)
ARCHITECTURE = $(shell dpkg --print-architecture)
STAGE = $(DIST)/deb
DEB = $(TARGET)/$(NAME)_$(VERSION)_$(ARCHITECTURE).deb

deb: all
	$(MAKE) package

package: built
	rm -rf $(STAGE)
	$(MAKE) install DESTDIR=$(STAGE) PREFIX=/usr zshdir=/usr/share/zsh/vendor-completions
	gzip -9n $(STAGE)/usr/share/man/man1/*.1
	install -D -m 644 -t $(STAGE)/usr/share/doc/$(NAME) debian/copyright
	gzip -9nc debian/changelog > $(STAGE)/usr/share/doc/$(NAME)/changelog.gz
	install -D -m 644 debian/lintian-overrides $(STAGE)/usr/share/lintian/overrides/$(NAME)
	install -d $(STAGE)/DEBIAN
	size=$$(du -sk $(STAGE)/usr | cut -f1) && \
	sed -e "s/@VERSION@/$(VERSION)/; s/@ARCHITECTURE@/$(ARCHITECTURE)/; s/@SIZE@/$$size/" \
		debian/control > $(STAGE)/DEBIAN/control
	cd $(STAGE) && find usr -type f -print0 | LC_ALL=C sort -z | xargs -0 md5sum > DEBIAN/md5sums
	chmod -R u+rwX,go+rX,go-w $(STAGE)
	dpkg-deb --root-owner-group --build $(STAGE) $(DEB)
	rm -rf $(STAGE)
