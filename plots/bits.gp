# Perplexity against stored bits a weight: a point a cell, and the Pareto front as a stepped line.
#
#   data       CSV: method, line, cell, grid, effective_bits, ppl, low, high, front (its number there, or 0),
#              drawn_at (its bits, or beside them where marks would cover each other: then a line leads there)
#   lines      array of the names in the key, of key_rows rows; line_method, line_turn: what gives one its colour and mark
#   n_front    cells on the front: one is no line
#   x_low, x_high, y_low, y_high, y_log, y_ticks
#   fp16, has_fp16

set datafile missing NaN # a line goes on over points of other lines
set label 1 note noenhanced at screen 0.5, note_at center font ',10' textcolor rgb grey
set xlabel 'stored bits per quantised weight (codes, scales, zeros, kept channels)' offset 0,0.3
set ylabel (y_log ? 'perplexity (log scale)' : 'perplexity') offset 0.5,0
set lmargin 9
set rmargin 8
eval key_below
set xrange [x_low:x_high]
set yrange [y_low:y_high]
if (y_log) { set logscale y }
if (strlen(y_ticks)) { eval 'set ytics ('.y_ticks.')' }
if (has_fp16) {
    set label 3 'FP16' at graph 1.01, first fp16 left font ',11'
    set arrow 3 from graph 0, first fp16 to graph 1, first fp16 nohead back linecolor rgb 'black' linewidth 1.3
}

plot data skip 1 using ($9 > 0 ? $5 : NaN):6 title n_front > 1 ? 'Pareto front' : '' with steps linecolor rgb '#999999' \
         linewidth 2, \
     data skip 1 using ($10 == $5 ? NaN : $5):6:($10 - $5):(0) notitle with vectors nohead linecolor rgb grey linewidth 0.8, \
     for [i=1:|lines|] data skip 1 using ($2 == i ? $10 : NaN):6:7:8 title lines[i] with yerrorbars \
         linecolor rgb method_colour(line_method[i]) linewidth 1.2 pointtype method_mark(line_method[i], line_turn[i]) \
         pointsize 0.8, \
     data skip 1 using ($9 > 0 ? $10 : NaN):6 title n_front > 1 ? '' : 'Pareto front' with points linecolor rgb 'black' linewidth 1.2 pointtype 6 pointsize 1.5
unset output
