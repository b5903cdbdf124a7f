# How far the largest channel of an input stands above the median, block by block.
#
#   data       CSV: input, line, block, largest, median, ratio, channel
#   lines      array of the inputs' names
#   n_blocks, y_low, y_high, y_log, y_ticks

set datafile missing NaN # a line goes on over points of other lines
set label 1 note noenhanced at screen 0.5, note_at center font ',10' textcolor rgb grey
set xlabel 'block' offset 0,0.3
set ylabel 'largest / median of mean |x|'.(y_log ? ', log scale' : '') offset 0.5,0
set lmargin 9
set rmargin 3
key_rows = 1
eval key_below
set xrange [-0.5:n_blocks - 0.5]
set xtics 0, block_step(n_blocks)
set yrange [y_low:y_high]
if (y_log) { set logscale y }
if (strlen(y_ticks)) { eval 'set ytics ('.y_ticks.')' }

plot for [i = 1:|lines|] data skip 1 using ($2 == i ? $3 : NaN):6 title lines[i] with linespoints \
         linecolor rgb series_colour[i] linewidth 1.5 dashtype series_dash[i] pointtype series_point[i] pointsize 0.6
unset output
