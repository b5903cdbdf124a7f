# What all figures share: terminals, fonts, colours. Set `format` ('png' or 'svg') before loading this.
#
# Colours are Okabe and Ito's, told apart by readers with any kind of colour vision; points and dashes differ as well, so
# that a print in grey is readable.

if (format eq 'png') {
    set terminal pngcairo size 1600,1100 font 'DejaVu Sans,11' fontscale 2 linewidth 2 pointscale 2
} else {
    set terminal svg size 800,550 dynamic font 'DejaVu Sans, Helvetica, Arial, sans-serif' fontscale 1.0
}
set encoding utf8

blue = '#0072B2'
vermillion = '#D55E00'
green = '#009E73'
grey = '#555555'
pale = '#DDDDDD'

set border 3 linecolor rgb grey
set tics nomirror out scale 0.6 textcolor rgb 'black'
set grid ytics linetype 1 linecolor rgb '#E8E8E8' linewidth 0.5
set style fill solid noborder
set bars 0.6
set datafile separator ','
set datafile missing ''
