# Mean |x| of the channels of an input, sorted, some blocks: one panel an input, two side by side, one scale.
#
#   data       CSV: input, panel, block, curve, rank, mean_abs_x
#   panels     array of the inputs' names
#   curves     array, four a panel, of the curves' names; empty where there are fewer
#   x_high, y_low, y_high, y_log, y_ticks

set datafile missing NaN # a line goes on over points of other lines
unset title
set label 1 note noenhanced at screen 0.5, note_at center font ',10' textcolor rgb grey
set label 2 heading noenhanced at screen 0.5, 1 - 14.0 / height center font ',13'
set label 3 'mean |x|' at screen 0.018, 0.5 center rotate by 90
set logscale xy
set xrange [0.85:x_high * 1.15]
set yrange [y_low:y_high]
set xtics (1, 4, 16, 64, 256, 1024, 4096, 16384) nomirror out
if (strlen(y_ticks)) { eval 'set ytics ('.y_ticks.')' }
set key top right vertical maxrows 2 Left reverse noenhanced samplen 2 spacing 0.95 width -1 font ',10'

left(i) = i % 2 ? 0.1 : 0.585
top(i) = 1 - (56.0 + 210 * ((i - 1) / 2)) / height
set multiplot
do for [i = 1:|panels|] {
    set title 'input '.panels[i] noenhanced font ',11' offset 0,-0.6
    set lmargin at screen left(i)
    set rmargin at screen left(i) + 0.395
    set tmargin at screen top(i)
    set bmargin at screen top(i) - 142.0 / height
    if (i > 1) { unset label 1; unset label 2; unset label 3 }
    set xlabel (i > |panels| - 2 ? 'channels by rank' : '') offset 0,0.6
    plot for [c = 1:4] data skip 1 using ($2 == i && $4 == c ? $5 : NaN):6 \
         title curves[4 * (i - 1) + c] with linespoints linecolor rgb series_colour[c] \
         linewidth 1.4 dashtype series_dash[c] pointtype series_point[c] pointsize 0.5
}
unset multiplot
unset output
