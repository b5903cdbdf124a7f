# Distance from full precision against stored bits: mean KL divergence, and how often another token is on top.
#
#   data       CSV: cell, grid, method_number, effective_bits, kl_mean, kl_low, kl_high, changed_percent, ...
#   methods    array of the methods' names
#   x_low, x_high, y_low, y_high, y_log, y_ticks; most: percent

set datafile missing NaN
unset title
set label 1 note noenhanced at screen 0.5, 14.0 / height center font ',10' textcolor rgb grey
set label 2 heading noenhanced at screen 0.5, 1 - 14.0 / height center font ',13'
set xlabel 'stored bits per quantised weight' offset 0,0.3
set xrange [x_low:x_high]
key_rows = ceil(|methods| / 3.0)
eval key_below
set tmargin at screen 1 - 44.0 / height

set multiplot
set lmargin at screen 0.105
set rmargin at screen 0.48
set ylabel 'mean KL divergence (nat'.(y_log ? ', log scale)' : ')') offset 1,0
set yrange [y_low:y_high]
if (y_log) { set logscale y }
if (strlen(y_ticks)) { eval 'set ytics ('.y_ticks.')' }
plot for [i=1:|methods|] data skip 1 using ($3 == i ? $4 : NaN):5:6:7 title methods[i] with yerrorbars \
         linecolor rgb method_colour(methods[i]) linewidth 1.2 pointtype method_mark(methods[i], 0) pointsize 0.8
unset label 1
unset label 2
unset key
unset logscale y
set lmargin at screen 0.6
set rmargin at screen 0.975
set ylabel 'another token on top (% of tokens)' offset 1,0
set yrange [0:most * 1.1]
set ytics autofreq
plot for [i=1:|methods|] data skip 1 using ($3 == i ? $4 : NaN):8 notitle with points \
         linecolor rgb method_colour(methods[i]) linewidth 1.2 pointtype method_mark(methods[i], 0) pointsize 0.8
unset multiplot
unset output
