# Perplexity against calibration tokens: over the seeds that drew the windows, their spread as a band.
#
#   data       CSV: method, line, calibration_tokens, seeds, ppl, lowest_ppl, highest_ppl
#   lines      array of the lines' names; line_method, line_turn: what gives a line its colour, mark and dash
#   x_ticks, x_low, x_high, y_low, y_high, y_log, y_ticks

set datafile missing NaN # a line goes on over points of other lines
set label 1 note noenhanced at screen 0.5, note_at center font ',10' textcolor rgb grey
set xlabel 'calibration tokens (log scale)' offset 0,0.3
set ylabel (y_log ? 'perplexity (log scale)' : 'perplexity') offset 0.5,0
set lmargin 9
set rmargin 3
key_rows = ceil(|lines| / 2.0)
eval key_below
set logscale x
set xrange [x_low:x_high]
set yrange [y_low:y_high]
eval 'set xtics ('.x_ticks.')'
if (y_log) { set logscale y }
if (strlen(y_ticks)) { eval 'set ytics ('.y_ticks.')' }

plot for [i=1:|lines|] data skip 1 using ($2 == i ? $3 : NaN):6:7 notitle with filledcurves \
         fillstyle transparent solid 0.18 noborder linecolor rgb method_colour(line_method[i]), \
     for [i=1:|lines|] data skip 1 using ($2 == i ? $3 : NaN):5 title lines[i] with linespoints \
         linecolor rgb method_colour(line_method[i]) linewidth 1.6 dashtype method_dash(line_turn[i]) \
         pointtype method_mark(line_method[i], line_turn[i]) pointsize 0.8, \
     for [i=1:|lines|] data skip 1 using ($2 == i ? $3 : NaN):5:(sprintf('%.4g', $5)) notitle with labels \
         offset 0,0.9 font ',10' textcolor rgb method_colour(line_method[i])
unset output
