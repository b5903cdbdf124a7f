# What all figures share: terminals, fonts, colours. Set `format` ('png' or 'svg'), `width` and `height` before loading
# this; a figure is made for print at 17 cm, where its 12 points are 8.5.
#
# Colours are Okabe and Ito's without their yellow (too pale on white), told apart by readers with any kind of colour
# vision; points and dashes differ as well, so that a print in grey is readable.

if (format eq 'png') {
    set terminal pngcairo size 2 * width, 2 * height font 'DejaVu Sans,12' fontscale 2 linewidth 2 pointscale 2
} else {
    set terminal svg size width, height dynamic background 'white' font 'DejaVu Sans, Helvetica, Arial, sans-serif,12' fontscale 1.0
}
set encoding utf8

blue = '#0072B2'
vermillion = '#D55E00'
green = '#009E73'
grey = '#555555'
pale = '#DDDDDD'

# The i-th curve of a figure with any number of them.
array series_colour = ['#0072B2', '#D55E00', '#009E73', '#CC79A7', '#E69F00', '#56B4E9', '#000000', '#777777']
array series_point = [5, 7, 9, 11, 13, 4, 6, 8]
array series_dash = [1, 4, 3, 2, 5, 1, 4, 3]

# From dark to light in equal steps of lightness (viridis), so that it reads in grey, too.
viridis = "defined (0 '#440154', 1 '#482878', 2 '#3E4A89', 3 '#31688E', 4 '#26828E', 5 '#1F9E89', 6 '#35B779', " . \
          "7 '#6DCD59', 8 '#B4DE2C', 9 '#FDE725')"

set border 3 linecolor rgb grey
set tics nomirror out scale 0.6 textcolor rgb 'black'
set grid ytics linetype 1 linecolor rgb '#E8E8E8' linewidth 0.5
set style fill solid noborder
set bars 0.6
set datafile separator ','
set datafile missing ''

# A key of key_rows rows below the plot, over the note: `eval key_below`. pngcairo sets it wider than svg does.
key_size = format eq 'png' ? 'samplen 1.5 width -3' : 'samplen 2.5 width 1'
key_below = 'set bmargin at screen (88.0 + 19 * key_rows) / height; ' . \
            'set key at screen 0.5, (30.0 + 9.5 * key_rows) / height center center vertical Left reverse noenhanced ' . \
            key_size . ' spacing 1.2 font ",11" maxrows key_rows'

set output output_file
set title heading noenhanced font ',13' offset 0,0.2
