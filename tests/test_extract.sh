#!/usr/bin/env bash
# data/extract_text.py on small pages: what is kept, what is left out, and that the same files give the same bytes.
set -u
# shellcheck source=tests/shell.bash
. "$(dirname "${BASH_SOURCE[0]}")/shell.bash"
extract=$tree/data/extract_text.py

# words N WORD: a sentence of N words, so that a page is long enough to be kept.
words() {
    local i
    for ((i = 0; i < $1; i++)); do printf '%s%d ' "$2" "$i"; done
    echo .
}

# page FILE: an HTML page around standard input.
page() {
    {
        echo '<!DOCTYPE html><html><head><title>Not text</title><style>p {color: red}</style></head><body><div>'
        cat
        echo '<div class="book-navigation"><ul class="menu"><li><a href="x">Menu</a></li></ul><div><a href="y">next</a>'
        echo '</div></div></div></body></html>'
    } >"$1"
}

test_html_prose() {
    mkdir -p "$scratch/a"
    {
        printf '<h1>A <i>heading</i></h1>\n<p>One &amp; two,&nbsp;three<br>\nfour &lt;five&gt; caf'
        printf 'e\xcc\x81 &eacute;.</p>'
        echo '<ul><li>an item of words</li><li><a href="toc.html">a table of contents</a></li></ul>'
        echo '<p>See <a href="u.html">this page</a> for the rest.</p><script>alert("no")</script><p>unclosed'
        echo '<p>next<br><br>after a gap</p><table><tr><td>12.5</td></tr></table>'
        echo "<p>$(words 200 w)</p>"
    } | page "$scratch/a/one.html"
    expect_exit 0 python3 "$extract" html "$scratch/one.txt" "$scratch/a/one.html"
    {
        printf 'A heading\n\nOne & two, three four <five> caf\xc3\xa9 \xc3\xa9.\n\nan item of words\n\n'
        printf 'See this page for the rest.\n\nunclosed\n\nnext\n\nafter a gap\n\n'
        words 200 w
    } >"$scratch/one.wanted"
    expect_file "$scratch/one.wanted" "$scratch/one.txt"
}

test_html_leaves_out() {
    mkdir -p "$scratch/b"
    words 200 a | page "$scratch/b/kept.html"
    words 200 b | page "$scratch/b/index.html"
    words 200 c | page "$scratch/b/secAcon.html"
    words 20 d | page "$scratch/b/short.html"
    expect_exit 0 python3 "$extract" html "$scratch/b.txt" "$scratch"/b/*.html
    words 200 a >"$scratch/b.wanted"
    expect_file "$scratch/b.wanted" "$scratch/b.txt"
}

test_repeats() {
    local shared="this long paragraph stands in two of the pages and is kept once"
    local legal="this notice stands in every page"
    local i
    mkdir -p "$scratch/c"
    for i in 1 2 3; do
        { echo "<p>$legal</p><p>$(words 200 "p$i")</p>"; [ $i = 3 ] || echo "<p>$shared</p>"; } | page "$scratch/c/$i.html"
    done
    expect_exit 0 python3 "$extract" html "$scratch/c.txt" "$scratch"/c/*.html
    expect_no_text "$legal" "$scratch/c.txt"
    [ "$(grep -c "$shared" "$scratch/c.txt")" = 1 ] || fail "the shared paragraph stands not just once"
}

# shellcheck disable=SC2016 # the dollars are Perl's
test_pod() {
    mkdir -p "$scratch/d"
    {
        printf '#!/usr/bin/perl\nmy $code = "not text";\n\n=encoding utf8\n\n=head1 NAME\n\nthing - left out\n\n'
        printf '=head1 DESCRIPTION\n\nThe C<< $x->{y} >> of B<I<two> names> E<lt>andE<gt> L<perlop/"Quote Operators">,\n'
        printf 'L<a page|perlfoo>, L<perlbar>, L</Here>S< > X<index entry>F<file>E<0x263a> caf\xc3\xa9.\n\n'
        printf '=over 4\n\n=item *\n\nfirst point\n\n=item 2.\n\nsecond\n\n=item C<word>\n\nits meaning\n\n=back\n\n'
        printf '\tif (1) {\n\t    example;\n\t}\n\n    more;\n\nA < B and C<unclosed\n\n'
        printf '=begin html\n\n<b>left out</b>\n\n=end html\n\n=for comment left out\n\n'
        printf '=head1 Empty\n\n=head1 SEE ALSO\n\nleft out\n\n=head2 deeper\n\nleft out too\n\n=head1 Last\n\n'
        words 200 w
        printf '\n=cut\n\nleft out as code\n'
    } >"$scratch/d/x.pod"
    expect_exit 0 python3 "$extract" pod "$scratch/d.txt" "$scratch/d/x.pod"
    {
        printf 'The $x->{y} of two names <and> "Quote Operators" in perlop, a page, perlbar, "Here" file\xe2\x98\xba '
        printf 'caf\xc3\xa9.\n\nfirst point\n\nsecond\n\nword\n\nits meaning\n\n'
        printf '        if (1) {\n            example;\n        }\n\n    more;\n\nA < B and unclosed\n\nLast\n\n'
        words 200 w
    } >"$scratch/d.wanted"
    expect_file "$scratch/d.wanted" "$scratch/d.txt"
}

test_pod_deep_nesting() {
    { printf '=pod\n\n'; printf 'B<%.0s' $(seq 20000); echo "deep"; words 200 w; } >"$scratch/deep.pod"
    expect_exit 0 python3 "$extract" pod "$scratch/deep.txt" "$scratch/deep.pod"
    expect_text '^deep w0' "$scratch/deep.txt"
}

test_parts_are_apart() {
    local i
    mkdir -p "$scratch/e"
    for i in 1 2 3 4 5 6 7 8; do words 160 "f${i}_" | page "$scratch/e/$i.html"; done
    for part in all eval calib; do
        expect_exit 0 python3 "$extract" html --part $part "$scratch/e-$part.txt" "$scratch"/e/*.html
    done
    [ "$(tr -d '\n' <"$scratch/e-eval.txt" | grep -oE 'f[0-9]_0 ' | tr -d '\n')" = "f4_0 f8_0 " ] || fail "eval's files"
    sort "$scratch/e-eval.txt" "$scratch/e-calib.txt" | grep . >"$scratch/e-parts"
    sort "$scratch/e-all.txt" | grep . >"$scratch/e-whole"
    expect_file "$scratch/e-whole" "$scratch/e-parts"
}

test_same_bytes() {
    mkdir -p "$scratch/f"
    words 200 b | page "$scratch/f/b.html"
    words 200 A | page "$scratch/f/B.html"
    words 200 a | page "$scratch/f/a.html"
    LC_ALL=C expect_exit 0 python3 "$extract" html "$scratch/f1" "$scratch"/f/{a,b,B}.html
    LC_ALL=C.UTF-8 PYTHONHASHSEED=7 expect_exit 0 python3 "$extract" html "$scratch/f2" "$scratch"/f/{B,b,a}.html
    expect_file "$scratch/f1" "$scratch/f2"
    expect_text '^A0' <(head -n 1 "$scratch/f1")
}

run_tests
