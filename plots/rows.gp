# The table as a picture: a line a cell, its perplexity with its bar, the number at the right edge; seeds as circles.
#
#   data       CSV: cell, line (from 0, downwards), method_number, seeds (0: one seed's own), seed, ppl, low, high, shown
#   methods    array of the methods' names, which give colour and mark
#   row_ticks  "'RTN' 0, 'GPTQ' 1"; label_width, number_width: characters of the longest; n_lines
#   x_low, x_high, x_log, x_ticks
#   fp16, has_fp16, has_seeds

set datafile missing NaN
unset title
set label 2 heading noenhanced at screen 0.5, 1 - 16.0 / height center font ',13'
set label 1 note noenhanced at screen 0.5, note_at center font ',10' textcolor rgb grey
set xlabel (x_log ? 'perplexity (log scale)' : 'perplexity') offset 0,0.3
set lmargin at screen (34 + 6.6 * label_width) / width
set rmargin at screen 1 - (24 + 7.0 * number_width) / width
set bmargin at screen (78.0 + note_room) / height
set tmargin at screen 1 - 56.0 / height
unset key
unset grid
set grid xtics linetype 1 linecolor rgb '#E8E8E8' linewidth 0.5
set xrange [x_low:x_high]
set yrange [n_lines - 0.4:-0.6]
if (x_log) { set logscale x }
if (strlen(x_ticks)) { eval 'set xtics ('.x_ticks.')' }
eval 'set ytics ('.row_ticks.') noenhanced font ",11" textcolor rgb "black" scale 0'
if (has_fp16) {
    set label 3 sprintf('FP16 %.4g', fp16) at first fp16, graph 1.0 center offset 0,0.6 font ',11'
    set arrow 3 from first fp16, graph 0 to first fp16, graph 1 nohead back linecolor rgb 'black' linewidth 1.3
}
has(i, number) = int(column(3)) == i && (number ? column(4) > 0 : column(4) == 0)

# Seeds first: a row's own mark lies over them.
plot for [i=1:|methods|] data skip 1 using (has_seeds && has(i, 0) ? $6 : NaN):2 with points \
         linecolor rgb method_colour(methods[i]) linewidth 0.9 pointtype 6 pointsize 0.9, \
     for [i=1:|methods|] data skip 1 using (has(i, 1) ? $6 : NaN):2:7:8 with xerrorbars \
         linecolor rgb method_colour(methods[i]) linewidth 1.2 pointtype method_mark(methods[i], 0) pointsize 0.8, \
     data skip 1 using ($4 > 0 ? x_high : NaN):2:(stringcolumn(9)) with labels left offset 0.8,0 font ',11'
unset output
