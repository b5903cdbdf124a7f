# Perplexity against the group size, at even distances: one panel a width, one line a method, the same in all panels.
#
#   data       CSV: method, w_bit, line, panel, group_size, position, ppl, low, high
#   panels     array of the panels' names
#   lines      array of the lines' names; line_method, line_turn: what gives a line its colour, mark and dash
#   x_ticks    '"32" 1, "64" 2'
#   n_sizes; pI_low, pI_high, pI_log, pI_ticks of panel I's perplexities
#   fp16, has_fp16

set datafile missing NaN # a line goes on over points of other lines
unset title
set label 1 note noenhanced at screen 0.5, note_at center font ',10' textcolor rgb grey
set label 2 heading noenhanced at screen 0.5, 1 - 14.0 / height center font ',13'
columns = |panels| > 1 ? 2 : 1
key_rows = ceil(|lines| / 2.0)
key_middle = (32.0 + note_room + 9.5 * key_rows) / height
set xrange [0.6:n_sizes + 0.4]
eval 'set xtics ('.x_ticks.')'
left(i) = i % columns == 1 % columns ? 0.1 : 0.6
top(i) = 1 - (60.0 + 250 * ((i - 1) / columns)) / height
# Lines stand a little apart, so that their bars do not cover each other.
x(position, i) = position + 0.5 / (|lines| + 3.0) * (i - (|lines| + 1) / 2.0)

set multiplot
do for [i = 1:|panels|] {
    set title panels[i] noenhanced font ',11' offset 0,-0.6
    set lmargin at screen left(i)
    set rmargin at screen left(i) + (columns > 1 ? 0.34 : 0.825)
    set tmargin at screen top(i)
    set bmargin at screen top(i) - 180.0 / height
    if (i > 1) { unset label 1; unset label 2 }
    low = value('p'.i.'_low')
    high = value('p'.i.'_high')
    set yrange [low:high]
    unset logscale y
    set ytics autofreq
    if (value('p'.i.'_log')) { set logscale y }
    if (strlen(value('p'.i.'_ticks'))) { eval 'set ytics ('.value('p'.i.'_ticks').')' }
    set ylabel (value('p'.i.'_log') ? 'perplexity (log scale)' : 'perplexity') offset 1,0
    set xlabel (i > |panels| - columns ? 'weights that share a scale (group size)' : '') offset 0,0.4
    unset arrow 3
    unset label 3
    if (has_fp16 && fp16 >= low && fp16 <= high) {
        set label 3 'FP16' at graph 1.01, first fp16 left font ',10'
        set arrow 3 from graph 0, first fp16 to graph 1, first fp16 nohead back linecolor rgb 'black' linewidth 1.3
    }
    if (i == |panels|) {
        set key at screen 0.5, key_middle center center vertical Left reverse noenhanced @key_size spacing 1.2 font ',11' maxrows key_rows
    } else { unset key }
    # The key's entries stand for themselves: a line that this panel has not got keeps its own.
    plot for [l = 1:|lines|] data skip 1 using ($3 == l && $4 == i ? x($6, l) : NaN):7 notitle with lines \
             linecolor rgb method_colour(line_method[l]) linewidth 1.5 dashtype method_dash(line_turn[l]), \
         for [l = 1:|lines|] data skip 1 using ($3 == l && $4 == i ? x($6, l) : NaN):7:8:9 notitle with yerrorbars \
             linecolor rgb method_colour(line_method[l]) linewidth 1.2 pointtype method_mark(line_method[l], line_turn[l]) \
             pointsize 0.8, \
         for [l = 1:|lines|] keyentry with linespoints linecolor rgb method_colour(line_method[l]) linewidth 1.5 \
             dashtype method_dash(line_turn[l]) pointtype method_mark(line_method[l], line_turn[l]) pointsize 0.8 title lines[l]
}
unset multiplot
unset output
