# The error of each linear, block by role, on one logarithmic scale: one panel a cell, two side by side.
#
#   data       CSV: cell, panel, block, role, role_number, error
#   panels     array of the panels' names, panels_2 of their second lines; pitch: points from one row of panels to the next
#   role_ticks "'q_proj' 0, 'k_proj' 1"
#   n_roles, n_blocks, low, high

unset title
set label 1 note noenhanced at screen 0.5, note_at center font ',10' textcolor rgb grey
set label 2 heading noenhanced at screen 0.5, 1 - 14.0 / height center font ',13'
eval 'set palette '.viridis
set logscale cb
set cbrange [low:high]
set format cb (high > 1000 * low ? '10^{%L}' : '%.2g')
set border 15 linecolor rgb grey
unset grid
set xrange [-0.5:n_blocks - 0.5]
set yrange [n_roles - 0.5:-0.5]
set xtics 0, block_step(n_blocks) nomirror out offset 0,0.4 font ',10'
# a range of few powers of ten has hardly a tick of gnuplot's own
cb_ticks = ''
cb_steps = high < 3 * low ? '1 1.2 1.5 2 2.5 3 4 5 6 7 8 9' : high < 100 * low ? '1 2 5' : high <= 1000 * low ? '1 3' : '1'
do for [e = -12:9] {
    do for [s = 1:words(cb_steps)] {
        tick = word(cb_steps, s) * 10.0**e
        if (tick >= low && tick <= high) { cb_ticks = cb_ticks.(strlen(cb_ticks) ? ', ' : '').sprintf('%g', tick) }
    }
}
eval 'set cbtics ('.cb_ticks.') font ",10"'
set label 3 'relative squared error (log scale)' at screen 0.985, (10.0 + height / 2.0) / height center rotate by 90 font ',10'
unset key

rows = (|panels| + 1) / 2
top(i) = 1 - (pitch - 134.0 + pitch * ((i - 1) / 2)) / height
left(i) = i % 2 ? 0.135 : 0.51
set multiplot
do for [i = 1:|panels|] {
    set title panels[i].(strlen(panels_2[i]) ? "\n".panels_2[i] : '') noenhanced font ',10' offset 0,-0.6
    set lmargin at screen left(i)
    set rmargin at screen left(i) + (|panels| > 1 ? 0.345 : 0.72)
    set tmargin at screen top(i)
    set bmargin at screen top(i) - 122.0 / height
    if (i > 1) { unset label 1; unset label 2; unset label 3 }
    set xlabel (i > |panels| - 2 ? 'block' : '') offset 0,0.7 font ',11'
    if (i % 2) { eval 'set ytics ('.role_ticks.') noenhanced font ",10" textcolor rgb "black" scale 0' } else { unset ytics }
    if (i == 1) {
        set colorbox user origin screen 0.88, 90.0 / height size screen 0.02, screen (height - 160.0) / height
    } else { unset colorbox }
    plot data skip 1 using ($2 == i ? $3 : NaN):5:($3 - 0.5):($3 + 0.5):($5 - 0.5):($5 + 0.5):6 with boxxyerror \
         fillstyle solid noborder linecolor palette
}
unset multiplot
unset output
