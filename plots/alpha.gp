# AWQ's alpha by block, one line an input, one panel a cell, below each other.
#
#   data       CSV: cell, grid, panel, linears, line, block, alpha
#   panels     array of the panels' names
#   lines      array of the lines' names
#   n_blocks

set datafile missing NaN # a line goes on over points of other lines
unset title
set label 1 note noenhanced at screen 0.5, note_at center font ',10' textcolor rgb grey
set label 2 heading noenhanced at screen 0.5, 1 - 14.0 / height center font ',13'
set xrange [-0.5:n_blocks - 0.5]
set xtics 0, block_step(n_blocks)
set yrange [-0.05:1.05]
set ytics 0, 0.25, 1
set ylabel 'alpha' offset 2,0
top(i) = 1 - (52.0 + 180 * (i - 1)) / height
set multiplot
do for [i = 1:|panels|] {
    set title panels[i] noenhanced font ',11' offset 0,-0.6
    set lmargin at screen 0.1
    set rmargin at screen 0.97
    set tmargin at screen top(i)
    set bmargin at screen top(i) - 130.0 / height
    if (i > 1) { unset label 1; unset label 2 }
    set format x (i == |panels| ? '%g' : '')
    set xlabel (i == |panels| ? 'block' : '') offset 0,0.5
    if (i == |panels|) {
        set key at screen 0.5, 42.0 / height center center horizontal Left reverse noenhanced maxrows 2 samplen 2.5 width 0 font ',10'
    } else { unset key }
    plot for [l = 1:|lines|] data skip 1 using ($3 == i && $5 == l ? $6 + 0.08 * (l - |lines| / 2.0) : NaN):7 title lines[l] \
         with linespoints linecolor rgb series_colour[l] linewidth 1.2 dashtype series_dash[l] \
         pointtype series_point[l] pointsize 0.6
}
unset multiplot
unset output
